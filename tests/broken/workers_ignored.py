"""Serves in one process, whatever -w says."""

import asyncore

import plain

args = plain.parse_args()
plain.Handler.root = args.root
plain.Server(args.host, args.port, plain.Handler)
asyncore.loop()
