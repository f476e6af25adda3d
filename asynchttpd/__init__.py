"""The parts that httpd.py and async_wsgi.py stand on, one subject a file. Nothing here imports the two programs."""
