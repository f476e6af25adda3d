"""Echo servers, one idea per rung: from one blocking thread to httpd.py and async_wsgi.py.

Climb with ``python -m ladder`` (list), ``python -m ladder N`` (run) and
``python -m ladder diff N`` (what is new). Each rung is a file that stands alone.
"""
