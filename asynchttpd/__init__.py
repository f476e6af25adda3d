"""The parts that httpd.py and async_wsgi.py stand on, one subject a file. Nothing here imports the two programs."""

__version__ = "0.1.0"
