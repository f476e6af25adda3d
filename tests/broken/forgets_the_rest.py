"""After a short send() the rest is never sent."""

import plain


class Handler(plain.Handler):
    ac_out_buffer_size = 2**30  # a whole file in one send() does come up short

    def send_file(self, file):
        self.push_with_producer(plain.FileProducer(file, 2**30))

    def send(self, data):
        return len(data) if super().send(data) else 0


plain.run(Handler)
