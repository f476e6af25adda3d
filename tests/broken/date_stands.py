"""Date is the time when the class was made."""

import time

import plain


class Handler(plain.Handler):
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())

    def date_time_string(self):
        return self.date


plain.run(Handler)
