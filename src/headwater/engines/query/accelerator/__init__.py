"""Tables that are asked often, kept a second time as DuckDB files that answer look-ups many times faster.

A file holds the rows of a set of Parquet files, sorted by what the table is asked by. It is derived: deleting it costs
speed and nothing else, and whatever is wrong with it, the query reads Parquet instead.
"""
