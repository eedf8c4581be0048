#!/usr/bin/env python3
"""Streams a text column of Parquet, Arrow or Feather files as JSON lines, for `kmask corpus build ... -`.

    tools/parquet_text.py data/*.parquet | kmask corpus build --tokenizer tok --out corpus.h5 -
    tools/parquet_text.py --column title,body data/ | kmask tokenizer train --type bpe --vocab-size 30000 --out bpe -

Files are read a batch of rows at a time, so memory does not grow with them. A folder stands for its .parquet, .arrow and .feather
files, by name. Several columns become several paragraphs of one document. Rows whose columns are all empty are left out. Needs pyarrow.
"""
import argparse
import json
import os
import sys

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    sys.exit("parquet_text.py: pyarrow is missing: pip install pyarrow")

ENDINGS = (".parquet", ".arrow", ".feather")


def files_of(paths):
    for path in paths:
        if os.path.isdir(path):
            for folder, folders, names in os.walk(path):
                folders.sort()
                yield from (os.path.join(folder, n) for n in sorted(names) if n.endswith(ENDINGS))
        else:
            yield path


def stop(path, what):
    sys.exit(f"parquet_text.py: {path}: {what}")


def arrow_batches(path):
    with pa.memory_map(path) as source:
        try:
            reader = pa.ipc.open_file(source)
            yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
        except pa.ArrowInvalid:
            source.seek(0)
            yield from pa.ipc.open_stream(source)


def batches(path, columns, rows):
    with open(path, "rb") as file:
        parquet = file.read(4) == b"PAR1"
    if not parquet:
        yield from arrow_batches(path)
        return
    table = pq.ParquetFile(path)
    tops = [c if c in table.schema_arrow.names else c.split(".")[0] for c in columns]
    check_columns(path, columns, table.schema_arrow)
    yield from table.iter_batches(batch_size=rows, columns=list(dict.fromkeys(tops)))


def has_column(schema, name):
    """Whether a schema has a column, or a field of one: "text", "meta.url"."""
    if name in schema.names:
        return True
    top, *inner = name.split(".")
    if top not in schema.names:
        return False
    kind = schema.field(top).type
    for part in inner:
        if not pa.types.is_struct(kind) or kind.get_field_index(part) < 0:
            return False
        kind = kind.field(part).type
    return True


def check_columns(path, columns, schema):
    for column in columns:
        if not has_column(schema, column):
            stop(path, f"no column {column}; it has {', '.join(schema.names)}. Choose with --column.")


def values_of(batch, name):
    if name in batch.schema.names:
        return batch.column(batch.schema.get_field_index(name)).to_pylist()
    top, *inner = name.split(".")
    values = batch.column(batch.schema.get_field_index(top)).to_pylist()
    for part in inner:
        values = [None if v is None else v[part] for v in values]
    return values


def text_of(value):
    """The texts of a value: a string, or a list of strings."""
    values = value if isinstance(value, list) else [value]
    return [str(v) for v in values if v is not None and str(v).strip()]


def write_texts(path, columns, rows):
    for batch in batches(path, columns, rows):
        check_columns(path, columns, batch.schema)
        for values in zip(*(values_of(batch, c) for c in columns)):
            texts = [text for value in values for text in text_of(value)]
            if texts:
                sys.stdout.write(json.dumps({"text": texts if len(texts) > 1 else texts[0]}, ensure_ascii=False) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--column", default="text", help="the column with the text, or a field of one (meta.url); a,b: several")
    parser.add_argument("--rows", type=int, default=1024, help="rows that are read at a time")
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    for path in files_of(options.files):
        try:
            write_texts(path, options.column.split(","), options.rows)
            sys.stdout.flush()
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            if isinstance(error, OSError) and error.errno:
                stop(path, error.strerror)
            stop(path, f"no Parquet, Arrow or Feather file, or a damaged one: {str(error).splitlines()[0]}")


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # the reader has stopped, and says why
        os._exit(1)
