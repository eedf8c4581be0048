#!/usr/bin/env bash
# Tokenizer folders as they are published: odd lines in vocab.txt, holes, files that disagree, classes that split otherwise.
. "$SOURCE/tests/common.sh"
encode() { # FOLDER TEXT -> ids
    printf '%s\n' "$2" | "$KMASK" tokenizer encode --tokenizer "$1" 2>err.txt
}
gives() { # FOLDER TEXT IDS WORDS
    local found
    found=$(encode "$1" "$2")
    [ "$found" = "$3" ] || fail "$1: '$2' is '$found', expected '$3' ($(cat err.txt))"
    [ -z "$4" ] || grep -qF -- "$4" err.txt || fail "$1: no '$4' in: $(cat err.txt)"
}
refused() { # FOLDER WORDS
    encode "$1" x >/dev/null && fail "$1 is read"
    grep -qF -- "$2" err.txt || fail "$1: no '$2' in: $(cat err.txt)"
}
names='[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n'
mkdir blanks wide doubles empty mark hole differ japanese words clip gpt

# ---- Lines of vocab.txt ----
printf "${names}the \nriver\t\n##s\n" >blanks/vocab.txt
gives blanks 'The river rivers' '5 6 6 7' '2 lines have blanks behind the piece'
printf "${names}the\xc2\xa0\nriver\xe3\x80\x80 \r\n##s\n" >wide/vocab.txt
gives wide 'The river rivers' '5 6 6 7' 'blanks behind'
printf "${names}the\xe2\x80\x83\v\nriver\xc2\x85\f\n##s \t \n" >wide/vocab.txt
gives wide 'The river rivers' '5 6 6 7' '3 lines have blanks behind the piece'
printf "${names}the\nriver\nthe\n##s\n" >doubles/vocab.txt
gives doubles 'The river rivers' '7 6 6 8' '1 pieces stand again'
printf "${names}the\n\nriver\n\n##s\n\n" >empty/vocab.txt
gives empty 'The river rivers' '5 7 7 9' '3 are empty'
printf "\xef\xbb\xbf${names}the\n" >mark/vocab.txt
gives mark 'the' '5' ''
# What is exported or kept in a corpus has the same ids.
printf 'the river rivers the river\n' >text.txt
"$KMASK" corpus build --tokenizer doubles --out d.h5 text.txt >/dev/null 2>err.txt || fail "corpus of doubles: $(cat err.txt)"
"$KMASK" corpus show d.h5 --row 0 --json | tr -d ' \t\n' | grep -qF '"input_ids":[2,7,6,6,8,7,6,3]' || fail "ids of the corpus"

# ---- Holes and doubled keys in tokenizer.json ----
whole() { # VOCAB [ADDED]
    printf '{"version":"1.0","added_tokens":[%s],"normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},"model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":{"[PAD]":0,"[UNK]":1,"[CLS]":2,"[SEP]":3,"[MASK]":4,%s}}}' "${2:-}" "$1"
}
whole '"the":6,"##s":9,"river":8' >hole/tokenizer.json
gives hole 'The river rivers' '6 8 8 9' '2 ids have no piece'
whole '"the":5,"river":6,"the":7' >hole/tokenizer.json
gives hole 'the river' '7 6' '1 pieces stand twice'
whole '"the":6' '{"id":5,"content":"new","special":false},{"id":9,"content":"far","special":false}' >hole/tokenizer.json
gives hole 'the new far' '6 5 7' 'added token "far" has the id 9 in the files, but 7 is the next one'

# ---- Files that disagree ----
printf "${names}the\nriver\n" >differ/vocab.txt
whole '"river":5,"the":6' >differ/tokenizer.json
gives differ 'the river' '6 5' 'id 5 is "the" there and "river" in tokenizer.json, which counts'

# ---- Steps, merges, flags and added tokens that disagree ----
put() { # FILE TEXT
    mkdir -p "$(dirname "$1")"
    printf '%s\n' "$2" >"$1"
}
token() { # ID TEXT [FLAG...]: an added token, with these flags true
    local flags='' flag
    for flag in single_word lstrip rstrip normalized special; do
        case " ${*:3} " in *" $flag "*) flags="$flags,\"$flag\":true" ;; *) flags="$flags,\"$flag\":false" ;; esac
    done
    printf '{"id":%s,"content":"%s"%s}' "$1" "$2" "$flags"
}
fast='"tokenizer_class":"PreTrainedTokenizerFast","unk_token":"[UNK]","mask_token":"[MASK]"'
mkdir -p fast flags cased steps mixed
whole '"the":5,"river":6' "$(token 7 new),$(token 8 far)" >fast/tokenizer.json
put fast/tokenizer_config.json "{$fast,\"added_tokens_decoder\":{\"12\":$(token 12 new),\"9\":$(token 9 sea)}}"
gives fast 'the new far sea' '5 7 8 9' 'disagree about the id of the added token "new"; tokenizer.json counts'
put fast/tokenizer_config.json "{$fast}"
put fast/added_tokens.json '{"new":8,"far":7}'
gives fast 'the new far' '5 7 8' 'added_tokens.json and tokenizer.json disagree about the id of the added token "new"'
put fast/added_tokens.json '{"wide":40,"deep":30}'
gives fast 'new deep wide' '7 9 10' 'added token "deep" has the id 30 in the files, but 9 is the next one that is free'
whole '"the":5,"river":6' "$(token 7 new)" >flags/tokenizer.json
put flags/tokenizer_config.json "{$fast,\"added_tokens_decoder\":{\"7\":$(token 7 new single_word)}}"
gives flags 'renew new' '1 7' 'disagree about the single_word of the added token "new"; tokenizer_config.json counts'
put flags/tokenizer_config.json "{$fast,\"do_lower_case\":false}"
gives flags 'The river' '5 6' 'lowercase is true here, which counts, as for transformers; tokenizer_config.json has false'
put flags/tokenizer_config.json '{"tokenizer_class":"BertTokenizer","do_lower_case":false}'
gives flags 'The river' '1 6' 'lowercase is true here, but false by tokenizer_config.json'
whole '"the":5,"river":6' | sed 's/"lowercase":true/"lowercase":false/' >cased/tokenizer.json
put cased/tokenizer_config.json '{"tokenizer_class":"BertTokenizerFast"}'
gives cased 'The river' '5 6' 'lowercase is false here, but true by tokenizer_config.json or the default of its tokenizer_class'
whole '"the":5,"river":6' | sed 's/{"type":"BertNormalizer"[^}]*}/{"type":"NFC"}/' >steps/tokenizer.json
gives steps 'The river' '1 6' ''
put steps/tokenizer_config.json '{"tokenizer_class":"BertTokenizer","do_lower_case":true}'
gives steps 'The river' '1 6' 'tokenizer_class is BertTokenizer, but tokenizer.json has other steps'
put steps/vocab.txt "$(printf "${names}the\nsea")"
gives steps 'the river' '5 6' 'id 6 is "sea" there and "river" in tokenizer.json'
printf '\0' >steps/vocab.txt
gives steps 'the river' '5 6' 'tokenizer.json beside it counts'
for class in MPNetTokenizer CamembertTokenizerFast DebertaV2TokenizerFast; do
    put steps/tokenizer_config.json "{\"tokenizer_class\":\"$class\"}"
    gives steps 'the river' '5 6' ''
done
put steps/tokenizer_config.json '{"tokenizer_class":"BertJapaneseTokenizer"}'
refused steps 'tokenizer_class is BertJapaneseTokenizer'
bytes='"a":0,"b":1,"c":2,"ab":3,"bc":4'
put mixed/tokenizer.json "{\"added_tokens\":[],\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":{\"type\":\"BPE\",\"vocab\":{$bytes},\"merges\":[\"b c\",\"a b\"]}}"
put mixed/vocab.json "{$bytes}"
printf '#version: 0.2\na b\nb c\n' >mixed/merges.txt
gives mixed abc '0 4' 'number 1 is "a b" there and "b c" in tokenizer.json'
put mixed/tokenizer_config.json '{"tokenizer_class":"RobertaTokenizer","add_prefix_space":true}'
gives mixed abc '0 4' 'add_prefix_space is false here, but true by tokenizer_config.json'
printf "${names}a\n" >mixed/vocab.txt
rm mixed/vocab.json mixed/merges.txt
gives mixed abc '0 4' 'is a vocabulary of another kind than tokenizer.json'
# Exported and read again, and in a corpus, the ids are the same.
"$KMASK" tokenizer export --tokenizer steps --out again 2>err.txt && fail "a class that is refused is exported"
rm steps/tokenizer_config.json
"$KMASK" tokenizer export --tokenizer steps --out again 2>err.txt || fail "export: $(cat err.txt)"
tr -d ' \t\n' <again/tokenizer_config.json | grep -q '"tokenizer_class":"PreTrainedTokenizerFast"' || fail "no class: $(cat again/tokenizer_config.json)"
[ ! -e again/vocab.txt ] || fail "a vocab.txt of steps that are not BERT's"
gives again 'The river' '1 6' ''
"$KMASK" corpus build --tokenizer steps --out s.h5 text.txt >/dev/null 2>err.txt || fail "corpus of steps: $(cat err.txt)"
"$KMASK" corpus show s.h5 --row 0 --json | tr -d ' \t\n' | grep -qF '"input_ids":[2,5,6,1,5,6,3]' || fail "ids of the corpus: $("$KMASK" corpus show s.h5 --row 0 --json)"

# ---- Classes ----
printf "${names}a\n" | tee japanese/vocab.txt words/vocab.txt >/dev/null
for class in BertJapaneseTokenizer BertweetTokenizer PhobertTokenizer XLMTokenizer CLIPTokenizer T5Tokenizer; do
    echo "{\"tokenizer_class\": \"$class\"}" >japanese/tokenizer_config.json
    refused japanese "tokenizer_class is $class"
done
rm japanese/tokenizer_config.json
echo '{"model_type": "bert", "tokenizer_class": "BertJapaneseTokenizer"}' >japanese/config.json
refused japanese "config.json: tokenizer_class is BertJapaneseTokenizer"
echo '{"word_tokenizer_type": "mecab"}' >words/tokenizer_config.json
refused words "word_tokenizer_type is mecab"
for class in BertTokenizer BertTokenizerFast DistilBertTokenizer ElectraTokenizerFast PreTrainedTokenizerFast TokenizersBackend; do
    echo "{\"tokenizer_class\": \"$class\"}" >words/tokenizer_config.json
    gives words a 5 ''
done
echo '{"a":0,"b</w>":1,"ab</w>":2}' >clip/vocab.json
printf '#version: 0.2\na b</w>\n' >clip/merges.txt
refused clip "end in </w>"
awk 'BEGIN { printf "{"; for (i = 0; i < 600; i++) printf "%s\"p%d\":%d", i ? "," : "", i, i; print "}" }' >gpt/vocab.json
: >gpt/merges.txt
refused gpt "no byte-level BPE"

# ---- A line end inside a paragraph is a blank to byte-level BPE ----
make_text >text.txt
"$KMASK" tokenizer train --type bpe --vocab-size 500 --out bpe text.txt >/dev/null 2>&1 || fail "bpe"
printf 'We walk with\nalmost no\nlight.\n\nBut then\nagain.\n' >wrapped.txt
printf 'We walk with almost no light.\n\nBut then again.\n' >flat.txt
printf '{"text": "We walk with\\nalmost no\\nlight."}\n{"text": "But then\\nagain."}\n' >wrapped.jsonl
ids() { "$KMASK" corpus show "$1" --row 0 --json | tr -d ' \t\n' | grep -oE '"(input_ids|word_starts)":\[[^]]*\]'; }
for form in flat.txt wrapped.txt wrapped.jsonl; do
    "$KMASK" corpus build --tokenizer bpe --out "$form.h5" "$form" >/dev/null 2>&1 || fail "$form"
    ids "$form.h5" >"$form.ids"
    cmp "$form.ids" flat.txt.ids || fail "$form has other ids than the text in one line"
done
"$KMASK" corpus build --tokenizer bpe --document file --out f.h5 wrapped.txt >/dev/null 2>&1 || fail "--document file"
"$KMASK" corpus show f.h5 --row 0 | grep -qF "light.But then again" || fail "a blank line is taken for a blank: $("$KMASK" corpus show f.h5 --row 0)"

# ---- --prefix-space: a word at the beginning of a text has the pieces that it has within one ----
"$KMASK" tokenizer train --type bpe --vocab-size 500 --prefix-space --out spaced text.txt >/dev/null 2>&1 || fail "--prefix-space"
first() { echo "$2" | "$KMASK" tokenizer encode --tokenizer "$1" | cut -d ' ' -f 1; }
[ "$(first spaced We)" = "$(first spaced ' We')" ] || fail "--prefix-space: another first piece than behind a blank"
[ "$(first bpe We)" != "$(first bpe ' We')" ] || fail "without --prefix-space a blank makes no difference"
echo 'We walk' | "$KMASK" tokenizer encode --tokenizer spaced >ids.txt
rm spaced/tokenizer.json
echo 'We walk' | "$KMASK" tokenizer encode --tokenizer spaced | cmp -s - ids.txt || fail "--prefix-space is not in tokenizer_config.json"
expect 2 "--prefix-space is for --type bpe" "$KMASK" tokenizer train --type wordpiece --vocab-size 500 --prefix-space --out wp text.txt
finish
