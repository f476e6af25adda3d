"""HEAD is answered like GET, body and all."""

import plain


class Handler(plain.Handler):
    do_HEAD = plain.Handler.do_GET


plain.run(Handler)
