class Quit(BaseException):
    pass


raise Quit("not even an Exception")
