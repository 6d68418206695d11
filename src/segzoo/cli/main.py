"""The command `segzoo`: its verbs, and what an error looks like on a terminal.

Exit codes: 0 done, 1 some items failed, 2 usage or settings, 3 unsafe or corrupt data, 4 the Hub, 5
not enough memory or disk, 6 a training that diverged, 70 a defect of segzoo itself, 130
interrupted, 143 told to end.
"""

import contextlib
import dataclasses
import errno
import gc
import os
import shlex
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import typer

from segzoo.base import stdout
from segzoo.base.files import FULL
from segzoo.base.home import expanded_line
from segzoo.base.terminal import to_stderr
from segzoo.cli import advice, transfers
from segzoo.cli import help as help_
from segzoo.cli.verbs import app_of, verbs_of
from segzoo.errors import PluginError, ResourceError, SegzooError, UsageError, printable

EXIT_DEFECT = 70  # EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED = 130
DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def main() -> None:
    """Run the command line of this process. An error is one line, without its traceback."""
    stdout.reopen_closed()
    # Pictures are worked on in several threads as it is: a numpy whose products take threads too
    # has them wait for each other, busily, for a seventh of a folder's processor time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # What Pillow says of a damaged EXIF block; a picture's own notes tell what matters.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.showwarning = show_warning
    arguments, debug = sys.argv[1:], False
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if "--debug" in arguments[:end]:
        arguments.remove("--debug")
        debug = True
    as_json = "--json" in arguments[:end]
    with stdout.kept_for_us() if as_json else contextlib.nullcontext():
        code = run(arguments, debug=debug)
    if "torch" not in sys.modules:  # with it comes a library that counts what is left, and says so
        gc.freeze()  # all ends now; to look for cycles in it takes a tenth of a cut-out
    sys.exit(code)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """What segzoo warns of is a sentence for a person; another library's keeps its place."""
    if category is UserWarning and Path(filename).is_relative_to(Path(__file__).parents[1]):
        text = f"segzoo: {printable(str(message))}\n"
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
    (file or sys.stderr).write(text)


def run(arguments: list[str], *, debug: bool = False) -> int:
    """Run a command line. Returns the exit code."""
    arguments = expanded_line(arguments)
    try:
        _refuse_nowhere(arguments)
        with transfers.shown(arguments):
            app = app_of(verbs_of(arguments))
            result = app(arguments, standalone_mode=False, prog_name="segzoo")
        sys.stdout.flush()  # what cannot be written is told now, not when the interpreter ends
    except SegzooError as error:
        _trace(debug)
        error.next_step = advice.fitting(error.next_step, options_of_line(arguments))
        return _complain(str(error), error.exit_code)
    except help_.Interrupted as stop:
        return EXIT_INTERRUPTED if stop.told else _complain("interrupted", EXIT_INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", EXIT_INTERRUPTED)
    except SystemExit as stop:  # typer ends the process itself for a closed pipe and for Ctrl-C
        if isinstance(stop.__context__, BrokenPipeError):
            return _nobody_reads()
        return stop.code if isinstance(stop.code, int) else 1
    except BrokenPipeError:
        return _nobody_reads()
    except Exception as error:
        if isinstance(error, OSError) and (fault := _of_the_machine(error)):
            return _complain(str(fault), fault.exit_code)
        if _is_usage_error(error):
            return _usage(error, arguments)
        _trace(debug)
        if isinstance(error, UnicodeDecodeError) and (broken := _unreadable()):
            return _complain(
                f"entry_points.txt of {', '.join(broken)} is not UTF-8, which a library cannot "
                f"read. Install it anew, or remove it: pip uninstall {shlex.quote(broken[0])}",
                PluginError.exit_code,
            )
        what = f"{type(error).__name__}: {error}"
        return _complain(
            f"a defect of segzoo, please report it: {what}. Run it again with --debug for details",
            EXIT_DEFECT,
        )
    return result if isinstance(result, int) else 0


def _unreadable() -> list[str]:
    from segzoo.zoo import registry

    return registry.unreadable()


def options_of_line(arguments: list[str]) -> frozenset[str]:
    """The long options of the verb that a line names; of none, those of the command itself."""
    command: Any = typer.main.get_command(app_of(verbs_of(arguments)))
    for word in arguments:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
    return frozenset(
        name for each in command.params for name in (*each.opts, *each.secondary_opts)
    ) | {"--debug"}


def _trace(wanted: bool) -> None:
    if wanted:
        import traceback

        to_stderr(*traceback.format_exc().rstrip("\n").split("\n"))


def _complain(message: str, code: int) -> int:
    to_stderr(f"segzoo: {message}")
    return code


def _is_usage_error(error: Exception) -> bool:
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def _usage(error: Exception, arguments: list[str]) -> int:
    """What the parser of the command line has against it, with the verb's usage."""
    context: Any = getattr(error, "ctx", None)
    message: str = error.format_message()  # type: ignore[attr-defined]
    if context is not None:
        to_stderr(*context.get_usage().split("\n"))
        takes_fields = any("KEY=VALUE" in str(p.metavar) for p in context.command.params)
        if takes_fields and (field := _field(getattr(error, "option_name", ""), arguments)):
            option = printable(error.option_name)  # type: ignore[attr-defined]
            message = f"{option} is no option: it is a field of the recipe. Write {field}"
        else:
            verb = context.command_path.partition(" ")[2]
            message = f"{message.removesuffix('.')}. See: segzoo help {verb}".rstrip()
    return _complain(message, error.exit_code)  # type: ignore[attr-defined]


def _field(option: str, arguments: list[str]) -> str:
    """ "--epochs" -> "epochs=5", as the line has it, where that is a field of a recipe; else ""."""
    from segzoo.spec import Recipe

    name, _, rest = option.lstrip("-").replace("-", "_").partition(".")
    if name not in (field.name for field in dataclasses.fields(Recipe)):
        return ""
    place = next((n for n, text in enumerate(arguments) if text.partition("=")[0] == option), None)
    value = "VALUE"
    if place is not None:
        _, equals, own = arguments[place].partition("=")
        value = own if equals else next(iter(arguments[place + 1 :]), value)
    return printable(f"{name}.{rest}={value}" if rest else f"{name}={value}")


def _refuse_nowhere(arguments: list[str]) -> None:
    """An empty name of what is to be written, as an unset variable of a shell gives it."""
    for option, value in pairwise(arguments):
        if option in ("-o", "--out") and not value:
            raise UsageError(f"{option} is empty", expected="where to write")


def _of_the_machine(error: OSError) -> SegzooError | None:
    """A disk that is full and what a user may not do; None for what a verb should have seen."""
    if error.filename is not None and error.errno in DENIED:
        return UsageError(str(error.strerror), file=os.fsdecode(error.filename))
    if error.errno not in FULL:
        return None
    if error.filename is not None:
        return ResourceError(str(error.strerror), file=os.fsdecode(error.filename))
    _silence_stdout()
    return ResourceError(f"no room where it goes ({error.strerror})", file="standard output")


def _nobody_reads() -> int:
    """`head`, say, has seen enough."""
    _silence_stdout()
    return 0


def _silence_stdout() -> None:
    """Let the interpreter's last flush of stdout go nowhere instead of failing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
