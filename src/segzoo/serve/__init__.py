"""Pictures over HTTP: a server that can be left alone, and the page that people look at."""
