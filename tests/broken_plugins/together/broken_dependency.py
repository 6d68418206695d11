import no_such_library

SPEC = no_such_library.SPEC
