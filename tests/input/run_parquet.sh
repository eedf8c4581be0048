#!/usr/bin/env bash
# tools/parquet_text.py: Parquet, Arrow and Feather files as texts, whole and by batches. Needs pyarrow.
. "$SOURCE/tests/common.sh"
python=${KMASK_PYTHON:-python3}
"$python" -c 'import pyarrow' 2>/dev/null || { echo "skipped: $python has no pyarrow"; exit 77; }
text() { "$python" "$SOURCE/tools/parquet_text.py" "$@"; }

cat >make.py <<'END'
import pyarrow as pa, pyarrow.parquet as pq, pyarrow.feather as feather
rows = 3000
body = [None if i % 50 == 7 else f"the river {i} is wide.\nA sea \u2013 na\u00efve, \u65e5\u672c." for i in range(rows)]
table = pa.table({"id": list(range(rows)), "title": [f"page {i}" if i % 3 else "" for i in range(rows)], "text": body,
                  "label": pa.array(["a", "b"] * (rows // 2)).dictionary_encode(), "meta": [{"url": f"u{i}", "lang": "en"} for i in range(rows)]})
pq.write_table(table, "plain.parquet", row_group_size=700)
pq.write_table(table, "zstd.parquet", compression="zstd", row_group_size=64)
pq.write_table(table.set_column(2, "text", table["text"].cast(pa.large_string())), "large.parquet")
with pa.OSFile("file.arrow", "wb") as f, pa.ipc.new_file(f, table.schema) as w:
    w.write_table(table, max_chunksize=100)
with pa.OSFile("stream.arrow", "wb") as f, pa.ipc.new_stream(f, table.schema) as w:
    w.write_table(table, max_chunksize=100)
feather.write_feather(table, "v2.feather")
pq.write_table(table.slice(0, 0), "none.parquet")
with open("expected.jsonl", "w", encoding="utf-8") as f:
    import json
    for b in body:
        if b:
            f.write(json.dumps({"text": b}, ensure_ascii=False) + "\n")
END
"$python" make.py || fail "no files"
for file in plain.parquet zstd.parquet large.parquet file.arrow stream.arrow v2.feather; do
    text "$file" >found.jsonl 2>err.txt || fail "$file: $(tail -n 1 err.txt)"
    cmp found.jsonl expected.jsonl || fail "$file: other texts"
done
text none.parquet >none.jsonl && [ ! -s none.jsonl ] || fail "a table without rows has texts"
text --column title,text plain.parquet | head -n 2 >two.jsonl
printf '%s\n' '{"text": "the river 0 is wide.\nA sea – naïve, 日本."}' '{"text": ["page 1", "the river 1 is wide.\nA sea – naïve, 日本."]}' | cmp - two.jsonl || fail "two columns: $(cat two.jsonl)"
[ "$(text --column meta.url plain.parquet | sed -n 2p)" = '{"text": "u1"}' ] || fail "a field of a column: $(text --column meta.url plain.parquet 2>&1 | sed -n 2p)"
mkdir folder && cp plain.parquet folder/b.parquet && cp file.arrow folder/a.arrow && echo x >folder/notes.txt
[ "$(text folder | wc -l)" = $((2 * $(wc -l <expected.jsonl))) ] || fail "a folder"

# Bad input is a sentence, and no traceback.
echo 'no table' >bad.parquet
head -c 2000 plain.parquet >cut.parquet
for bad in "--column nothing plain.parquet" bad.parquet cut.parquet missing.parquet "--column id,nothing stream.arrow"; do
    text $bad >out.txt 2>err.txt && fail "$bad: status 0"
    [ "$(wc -l <err.txt)" = 1 ] || fail "$bad: $(cat err.txt)"
done
text --column nothing plain.parquet 2>&1 | grep -qF "no column nothing; it has id, title, text" || fail "the columns are not named"
text plain.parquet 2>err.txt | head -n 1 >/dev/null
grep -q Traceback err.txt && fail "a reader that stops early: $(tail -n 1 err.txt)"

# Into a corpus and a tokenizer.
make_corpus
text plain.parquet | "$KMASK" corpus build --tokenizer tok --out parquet.h5 - >/dev/null 2>err.txt || fail "corpus build: $(tail -n 1 err.txt)"
"$KMASK" corpus build --tokenizer tok --out jsonl.h5 expected.jsonl >/dev/null 2>&1
cmp parquet.h5 jsonl.h5 || fail "another corpus than from JSON lines"
expect 1 "tools/parquet_text.py" "$KMASK" corpus build --tokenizer tok --out no.h5 plain.parquet
finish
