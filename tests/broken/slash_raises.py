"""A slash after a file's name is 500: only a missing file was thought of."""

import plain


class Unforeseen(Exception):
    pass


class Handler(plain.Handler):
    responses = plain.Handler.responses | {500: "Internal Server Error"}

    def open_file(self, path):
        try:
            return open(path, "rb")
        except NotADirectoryError as error:
            raise Unforeseen(error) from error

    def do_GET(self):
        try:
            super().do_GET()
        except Unforeseen as error:
            print(error)
            self.send_error(500)


plain.run(Handler)
