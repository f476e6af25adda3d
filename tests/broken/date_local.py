"""Date is local time, called GMT."""

import time

import plain


class Handler(plain.Handler):
    def date_time_string(self):
        return time.strftime("%a, %d %b %Y %H:%M:%S GMT")


plain.run(Handler)
