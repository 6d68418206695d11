"""What runtimes of an exported network have in common: its one head, and what a failure is."""

from segzoo.errors import PluginError, UsageError

__all__ = ["failure_of", "final_alone"]

# What libraries say when memory runs out; none has a class for it.
OUT_OF_MEMORY = ("allocate memory", "bad_alloc", "bad allocation", "out of memory")


def final_alone(all_heads: bool) -> None:
    """UsageError for side outputs: an exported network gives its final prediction."""
    if all_heads:
        raise UsageError(
            "an exported network gives no side outputs", next_step="Give --runtime torch"
        )


def failure_of(error: Exception, shape: tuple[int, ...]) -> MemoryError | PluginError:
    """What a runtime raises in place of its library's error, for an input of this shape."""
    text = " ".join(str(error).split())
    if any(words in text for words in OUT_OF_MEMORY):
        return MemoryError(text[:200])
    return PluginError(f"the network failed for an input {shape}: {text[:200]}")
