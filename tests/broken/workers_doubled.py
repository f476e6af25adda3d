"""Starts two workers where one was asked for."""

import plain

parse_args = plain.parse_args


def twice_as_many():
    args = parse_args()
    args.workers *= 2
    return args


plain.parse_args = twice_as_many
plain.run()
