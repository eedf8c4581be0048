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

import pyarrow as pa
import pyarrow.parquet as pq

ENDINGS = (".parquet", ".arrow", ".feather")


def files_of(paths):
    for path in paths:
        if os.path.isdir(path):
            for folder, folders, names in os.walk(path):
                folders.sort()
                yield from (os.path.join(folder, n) for n in sorted(names) if n.endswith(ENDINGS))
        else:
            yield path


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
    missing = [c for c in columns if c not in table.schema_arrow.names]
    if missing:
        sys.exit(f"{path}: no column {missing[0]}; it has {', '.join(table.schema_arrow.names)}. Choose with --column.")
    yield from table.iter_batches(batch_size=rows, columns=columns)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--column", default="text", help="the column with the text; a,b: several")
    parser.add_argument("--rows", type=int, default=1024, help="rows that are read at a time")
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    columns = options.column.split(",")
    for path in files_of(options.files):
        for batch in batches(path, columns, options.rows):
            for column in columns:
                if column not in batch.schema.names:
                    sys.exit(f"{path}: no column {column}; it has {', '.join(batch.schema.names)}. Choose with --column.")
            for values in zip(*(batch.column(batch.schema.get_field_index(c)).to_pylist() for c in columns)):
                texts = [str(v) for v in values if v is not None and str(v).strip()]
                if texts:
                    print(json.dumps({"text": texts if len(texts) > 1 else texts[0]}, ensure_ascii=False))


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # the reader has stopped, and says why
        os._exit(1)
