"""Listens on a port of its own choice."""

import asyncore

import plain

args = plain.parse_args()
plain.Server(args.host, 0, plain.Handler)
asyncore.loop()
