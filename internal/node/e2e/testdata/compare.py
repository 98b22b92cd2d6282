"""Compares a Parquet file, as Arrow reads it, with the NDJSON export of the same rows."""
import calendar
import json
import struct
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq


def nanoseconds(text):
    whole, _, rest = text.rstrip("Z").partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) * 10**9 + int((rest + "000000000")[:9])


def same_float(a, b):
    return struct.pack(">d", a) == struct.pack(">d", b) or a != a and b != b


table = pq.read_table(sys.argv[1])
for field in table.schema:
    print(field.name, field.type, "null" if field.nullable else "required")
meta = pq.ParquetFile(sys.argv[1]).metadata
print("codec", meta.row_group(0).column(0).compression, "row groups", meta.num_row_groups)

with open(sys.argv[2], encoding="utf-8") as f:
    lines = [json.loads(line, parse_int=str, parse_float=str) for line in f.read().split("\n") if line]
assert len(lines) == table.num_rows, (len(lines), table.num_rows)

for field in table.schema:
    column = table.column(field.name)
    is_json = field.name in sys.argv[3:]
    if pa.types.is_timestamp(field.type):
        column = column.cast(pa.int64())
    elif is_json and isinstance(field.type, pa.BaseExtensionType):
        column = column.cast(pa.string())
    for i, (got, line) in enumerate(zip(column.to_pylist(), lines)):
        if field.name not in line:
            assert got is None, (field.name, i, got)
            continue
        want = line[field.name]
        if pa.types.is_timestamp(field.type):
            ok = got == nanoseconds(want)
        elif pa.types.is_floating(field.type):
            ok = same_float(got, float(want.replace("Infinity", "inf")))
        elif pa.types.is_integer(field.type):
            ok = got == int(want)
        elif is_json:
            ok = json.loads(got, parse_int=str, parse_float=str) == want
        else:
            ok = got == want
        assert ok, (field.name, i, got, want)
print("same", table.num_rows)
