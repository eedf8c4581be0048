#!/usr/bin/env python3
"""Changes one line of the source at a time, and says which change no test notices.

    python3 tools/change_lines.py [--only PATTERN] [--check] [--list] [--keep] [--limit SECONDS]

Every change of the table below is a mistake that somebody could make. The script copies the source tree into build/changes,
builds it there, and for one change after the other: writes the new text for the old, builds what its tests need, runs these
tests until one fails, and writes the old text back. The table that it prints names the test that noticed. Status 1 where a
change went unnoticed, or where a change could not be made because the old text is no longer there: then the table needs the
text as it is now. A test that does not pass on the unchanged source within a minute notices nothing; with a change, one
that has not ended after a minute has noticed.
All changes take some 20 minutes on two cores; compilers' caches (CMAKE_C_COMPILER_LAUNCHER=ccache) help.

    --only PATTERN   only changes whose description or file matches the regular expression
    --check          only looks whether every old text is there exactly once, and every test
    --list           only prints the table of changes
    --keep           leaves build/changes, so that the next run is quicker
    --limit SECONDS  instead of a minute, for a machine that does other work too
"""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
WORK = SOURCE / "build" / "changes"

# (what, file, old text, new text, names of tests as ctest has them, the likeliest first). The old text must be in the file exactly once.
CHANGES = [
    # ---- Masks ----
    ("masks: the number of units is rounded down", "src/data/mask.c",
     "(int)floor(spec->ratio * units + 0.5)", "(int)floor(spec->ratio * units)", ["data/test_mask_sets"]),
    ("masks: a shuffle that is not uniform", "src/data/units.c",
     "int j = i + (int)km_rng_below(rng, (uint32_t)(units->count - i));",
     "int j = (int)km_rng_below(rng, (uint32_t)units->count);", ["data/test_mask_sets"]),
    ("masks: a word begins only where the tokens before cannot be masked", "src/data/units.c",
     "row->starts_word[p] || p == 0", "p == 0", ["data/test_mask_sets"]),
    ("masks: fully-explored masks overlap by a unit", "src/data/mask_fully_explored.c",
     "k * tau, (k + 1) * tau);", "k * tau - (k > 0), (k + 1) * tau);", ["data/test_mask_sets"]),
    ("masks: random masks are all the same", "src/data/mask_random.c",
     "km_units_shuffle(units, tau, &self->rng);", "if (k == 0) km_units_shuffle(units, tau, &self->rng);", ["data/test_mask_sets"]),
    ("masks: the same at every visit", "src/data/mask.c",
     "visit->purpose, (uint32_t)visit->number, row);",
     "visit->purpose, (uint32_t)(visit->number >> 32), row);", ["data/test_mask_sets", "data/test_reader"]),
    ("masks: another key for their numbers, so that older runs go on with other masks", "src/data/mask_units.c",
     "masker->rng = km_visit_rng(visit, row->number);", "masker->rng = km_visit_rng(visit, row->number + 1);",
     ["data/test_frozen"]),
    ("masks: span lengths are drawn with p = 0.25", "src/data/units_spans.c",
     "product *= i < length ? 4 : 5;", "product *= i < length ? 3 : 4;", ["data/test_mask_spans"]),
    ("masks: the first span is not drawn in proportion to its length", "src/data/units_spans.c",
     "draw_length(longest, true, rng)", "draw_length(longest, false, rng)", ["data/test_mask_spans"]),
    ("masks: over epochs, always the first of the K masks", "src/data/source_rows.c",
     "(int)(epoch % splits)}", "(int)(0 * epoch)}", ["data/test_reader"]),
    ("masks: special tokens come up as random tokens", "src/data/view.c",
     "id += id >= rule->specials[i];", "id += id > rule->specials[i];", ["data/test_reader"]),
    ("masks: random tokens where a token should stay", "src/data/view.c",
     "ticket < by_mask + by_random ?", "ticket < 1 ?", ["data/test_reader"]),
    ("masks: the 32nd token of a row is never masked", "src/data/view.c",
     "const bool hidden = v->mask[p] != KM_SEEN;", "const bool hidden = v->mask[p] != KM_SEEN && p % 32 != 31;", ["data/test_reader"]),
    ("masks: denoise hides a word too few", "src/data/mask_denoise.c",
     "(int)ceil(spec->ratio * units - rounding)", "(int)floor(spec->ratio * units)", ["data/test_mask_denoise"]),
    ("masks: denoise draws each length twice", "src/data/mask_denoise.c",
     "drawn = draw_length(&self->lengths, rng), length", "drawn = KM_MIN(draw_length(&self->lengths, rng), units), length",
     ["data/test_mask_denoise"]),
    ("masks: denoise's spans stand before the words that are left", "src/data/mask_denoise.c",
     "    arrange(self, rng);\n", "", ["data/test_mask_denoise"]),
    ("masks: a <mask> may be inserted before the first token", "src/data/mask_denoise.c",
     "const int places = count + more - 1 - i;", "const int places = count + more - i;", ["data/test_mask_denoise"]),
    ("masks: sentences leave their documents", "src/data/mask_denoise.c",
     "row->sentences[end].start == row->sentences[end - 1].end", "row->sentences[end].start > 0", ["data/test_mask_denoise"]),
    ("masks: two salient masks may hide the same name", "src/data/mask_salient.c",
     "units->ranges[units->order[i]]", "units->ranges[units->order[i % tau]]", ["data/test_mask_salient"]),
    ("target: the decoder reads the token that it is to predict", "src/data/view.c",
     "km_view_add_decoder(v->builder, before);", "km_view_add_decoder(v->builder, id);", ["data/test_view"]),
    ("target: pieces that touch are shown as one", "src/data/view.c",
     "v->mask[p] == KM_HIDDEN && is_hidden(v, i - 1)", "v->mask[p] != KM_SEEN && is_hidden(v, i - 1)", ["data/test_view"]),
    ("target: an evaluation's loss is that of the whole row", "src/data/eval_views.c",
     "views->rule.only_hidden = true;", "views->rule.only_hidden = false;", ["data/test_view"]),
    # ---- Order ----
    ("order: the same in every epoch", "src/corpus/order.c",
     "(uint32_t)net->epoch, (uint32_t)(net->epoch >> 32)", "0, (uint32_t)(net->epoch >> 32)", ["corpus/test_order"]),
    ("order: seven rounds instead of eight, so that older runs go on with other rows", "src/corpus/order.c",
     "enum { ROUNDS = 8 };", "enum { ROUNDS = 7 };", ["data/test_frozen"]),
    ("order: a step's last view comes again in the next step", "src/data/reader.c",
     "step * (uint64_t)reader->views + (uint64_t)j", "step * (uint64_t)(reader->views - 1) + (uint64_t)j", ["data/test_reader"]),
    ("order: the last micro-batch is cut short", "src/data/reader.c",
     "int to = KM_MIN(reader->views - from, reader->micro_batch) + from;",
     "int to = KM_MIN(reader->views - from - 1, reader->micro_batch) + from;", ["data/test_reader", "train/mpi_step@1"]),
    # ---- Packing ----
    ("packing: a sentence that just fits goes into the next row", "src/corpus/rows_cut.c",
     "if (length > room(c)) {", "if (length >= room(c)) {", ["corpus/test_rows"]),
    ("packing: rows are a token shorter than they may be", "src/corpus/rows_cut.c",
     "(size_t)options->length - 2,", "(size_t)options->length - 3,", ["corpus/test_rows"]),
    ("packing: no [SEP] between documents", "src/corpus/rows_cut.c",
     "c->row.seps++;", "c->row.seps += 0;", ["corpus/test_rows"]),
    ("packing: rows with too few units are kept", "src/corpus/rows_cut.c",
     "units < c->options->min_units || units == 0", "units == 0", ["corpus/test_rows"]),
    ("packing: the row's first token does not begin a word", "src/corpus/rows.c",
     "out->starts_word[1] = 1;", "out->starts_word[1] += 0;", ["corpus/test_rows"]),
    # ---- Evaluation ----
    ("evaluation: what is left over by the parts is never masked", "src/data/eval_views.c",
     "int to = from + share + (part < more);", "int to = from + share;", ["data/test_eval_views"]),
    ("evaluation: the last row is left out", "src/run/evaluate.c",
     "e->until = e->number * round / rounds;", "e->until = (e->number - 1) * round / rounds;", ["run/mpi_evaluate@1"]),
    ("evaluation: rows of one unit are left out", "src/run/evaluate.c",
     ".min_units = 1};", ".min_units = 2};", ["run/mpi_evaluate@1"]),
    ("evaluation: perplexity is 2 to the loss", "src/run/evaluate.c",
     "out->perplexity = exp(out->loss);", "out->perplexity = exp2(out->loss);", ["run/mpi_evaluate@1"]),
    ("evaluation: accuracy counts every token", "src/run/evaluate.c",
     "out->accuracy = (double)totals[2] / masked;", "out->accuracy = (double)totals[1] / masked;", ["run/mpi_evaluate@1"]),
    # ---- Loss and its normalization ----
    ("loss: its gradient is 0.1 % too large at the label", "src/kernel/loss.c",
     "x[labels[m]] -= 1.0f;", "x[labels[m]] -= 1.001f;", ["kernel/test_loss"]),
    ("loss: no maximum is taken off before the exponential", "src/kernel/loss.c",
     "x[v] = km_exp(x[v] - top);", "x[v] = km_exp(x[v]);", ["kernel/test_loss"]),
    ("loss: a tie counts as a hit", "src/kernel/loss.c",
     "if (x[v] == top) {", "if (x[v] > top) {", ["kernel/test_loss"]),
    ("loss_norm masks divides by masked tokens", "src/train/step.c",
     "by_masks ? km_reader_views(t->reader) : masked", "by_masks ? masked : masked", ["train/mpi_step@1"]),
    ("loss: what is logged is the mean of all tokens", "src/train/step.c",
     "(double)(1 << KM_LOSS_BITS) / (double)KM_MAX(totals[MASKED], 1)", "(double)(1 << KM_LOSS_BITS) / (double)KM_MAX(totals[TOKENS], 1)",
     ["train/mpi_step@1"]),
    ("loss: a gradient that is not finite goes unnoticed", "src/train/step.c",
     "report->diverged = totals[BAD] > 0;", "report->diverged = totals[BAD] > totals[MASKED];", ["train/mpi_update@1", "run/run_bad_input"]),
    # ---- Model ----
    ("model: attention's scores are divided by the width instead of its root", "src/kernel/attention_head.h",
     "1.0f / sqrtf((float)shape->D)", "1.0f / (float)shape->D", ["kernel/test_attention"]),
    ("model: layer norm's epsilon is added to the deviation", "src/kernel/norm.c",
     "1.0f / sqrtf(squares / (float)C + eps)", "1.0f / (sqrtf(squares / (float)C) + eps)", ["kernel/test_norm"]),
    ("model: GELU by tanh with another coefficient", "src/kernel/activation.c",
     "#define TANH_CUBE 0.044715f", "#define TANH_CUBE 0.0447f", ["kernel/test_elementwise"]),
    ("model: the pad token's embedding learns from its positions", "src/model/embedding.c",
     "if (id != in->pass->model->pad) {", "if (id >= 0) {", ["model/test_golden", "model/test_twin"]),
    ("model: initial weights have twice the deviation", "src/model/init.c",
     "(float)(deviation * km_rng_normal(&rng))", "(float)(2 * deviation * km_rng_normal(&rng))", ["model/test_table"]),
    # ---- Dropout ----
    ("dropout: what is kept is not scaled", "src/kernel/dropout.h",
     "65536.0f / (float)(65536u - threshold)", "65536.0f / 65536.0f", ["kernel/test_dropout"]),
    ("dropout: the same for all tokens of a view", "src/data/builder.c",
     "builder->view * 65536 + (uint64_t)(token - room->starts[builder->batch.views]);", "builder->view * 65536;", ["data/test_reader", "data/test_builder"]),
    ("dropout: the same at every step", "src/data/source_rows.c",
     "wanted.index, number, &rng);", "wanted.index, number & 3, &rng);", ["data/test_reader"]),
    ("dropout: the same in all layers", "src/model/gradient.c",
     ".site = site,", ".site = site % 3,", ["model/test_twin"]),
    ("dropout: another key than before, so that older runs go on with other numbers", "src/model/gradient.c",
     "km_rng_key(pass.key, dropout_seed, KM_RNG_DROPOUT);", "km_rng_key(pass.key, dropout_seed + 1, KM_RNG_DROPOUT);",
     ["model/test_twin"]),
    # ---- Optimizer ----
    ("optimizer: clips at twice optimizer.clip", "src/train/optimizer.c",
     "u->norm > o->clip ? o->clip / u->norm : 1.0", "u->norm > o->clip ? 2 * o->clip / u->norm : 1.0", ["train/mpi_update@1"]),
    ("optimizer: clips what is below optimizer.clip too", "src/train/optimizer.c",
     "o->clip > 0 && u->norm > o->clip ?", "o->clip > 0 ?", ["train/mpi_update@1"]),
    ("optimizer: the bias correction is a step ahead", "src/train/step.c",
     ".step = t->earlier_updates + step,", ".step = t->earlier_updates + step + 1,", ["train/mpi_step@1"]),
    ("optimizer: the second moment is corrected by beta1", "src/train/optimizer.c",
     "(1.0 - pow(o->beta2, (double)u->step))", "(1.0 - pow(o->beta1, (double)u->step))", ["train/mpi_step@1"]),
    ("optimizer: biases and norms decay too", "src/train/optimizer.c",
     "if (!param->decay) {", "if (param->count == 0) {", ["train/mpi_step@1"]),
    ("optimizer: decay pushes weights away from 0", "src/kernel/update.c",
     "+ decay * w[i]);", "- decay * w[i]);", ["kernel/test_update"]),
    ("optimizer: eps goes under the root", "src/kernel/update.c",
     "(sqrtf(second * c2) + eps)", "sqrtf(second * c2 + eps)", ["kernel/test_update"]),
    ("optimizer: the second moment moves at beta1's pace", "src/kernel/update.c",
     "(1.0f - b2) * g * g", "(1.0f - b1) * g * g", ["kernel/test_update"]),
    ("optimizer: the norm misses the last block", "src/train/optimizer.c",
     "i < parameters->table->size / KM_BLOCK; i++) {", "i + 1 < parameters->table->size / KM_BLOCK; i++) {", ["train/mpi_step@1"]),
    # ---- Schedule ----
    ("schedule: linear ends a step early", "src/train/schedule.c",
     "(double)(step - 1 - warmup)", "(double)(step - warmup)", ["train/test_schedule"]),
    ("schedule: warmup begins at 0", "src/train/schedule.c",
     "return (double)step / (double)warmup;", "return (double)(step - 1) / (double)warmup;", ["train/test_schedule"]),
    ("schedule: half a cosine ends at a half", "src/train/schedule.c",
     "0.5 * (1.0 + cos(pi * done))", "0.5 * (1.0 + cos(0.5 * pi * done))", ["train/test_schedule"]),
    ("schedule: the rate of the step before", "src/train/step.c",
     "km_schedule_factor(options->schedule.name, step,", "km_schedule_factor(options->schedule.name, step - 1,", ["train/mpi_step@1"]),
    # ---- Rounding ----
    ("rounding: gradients are cut off instead of rounded to the integer sum's unit", "src/kernel/update.c",
     "return bits - base;", "return bits - base - (g < 0);", ["kernel/test_update"]),
    ("rounding: twice the largest gradient is let through", "src/kernel/update.c",
     "bad |= size < KM_FIXED_LIMIT ? 0u : 1u; /*", "bad |= size < 2 * KM_FIXED_LIMIT ? 0u : 1u; /*", ["kernel/test_update"]),
    ("rounding: bf16 cuts off", "src/kernel/bf16.h",
     "bits + 0x7FFFu + ((bits >> 16) & 1u)", "bits", ["kernel/test_bf16"]),
    ("rounding: bf16's ties go up", "src/kernel/bf16.h",
     "bits + 0x7FFFu + ((bits >> 16) & 1u)", "bits + 0x8000u", ["kernel/test_bf16"]),
    # ---- The exact sum ----
    ("sum: what has no gradient this step keeps the last step's", "src/train/gradient_sum.c",
     "if (!sum->written[piece]) {", "if (sum->contributions == 0) {", ["train/mpi_update@1", "train/mpi_step@1"]),
    ("sum: a rank's last element is left out", "src/comm/exchange.c",
     "for (size_t i = 0; i < count; i++) {\n        out[i] = a[i] + b[i];", "for (size_t i = 0; i + 1 < count; i++) {\n        out[i] = a[i] + b[i];",
     ["comm/mpi_exchange@2", "comm/mpi_exchange@3"]),
    ("sum: weights are not gathered from the first bucket", "src/comm/exchange_gather.c",
     "for (int bucket = 0; bucket < exchange->buckets; bucket++) {\n            size_t first, count, local;\n            km_exchange_part(exchange, bucket, peer",
     "for (int bucket = 1; bucket < exchange->buckets; bucket++) {\n            size_t first, count, local;\n            km_exchange_part(exchange, bucket, peer",
     ["comm/mpi_exchange@2"]),
    ("sum: of the parts, each is shifted by a block", "src/comm/exchange_plan.c",
     "*first = (start + before) * KM_BLOCK;", "*first = (start + (before > 0 ? before - 1 : before)) * KM_BLOCK;", ["comm/mpi_exchange@2"]),
    ("sum: ranks get shares that leave out what is left over", "src/comm/comm.c",
     "*number = each + (r < longer ? 1 : 0);", "*number = each;", ["comm/mpi_comm@3", "comm/mpi_exchange@3"]),
    # ---- Saving and resuming ----
    ("saving: the first moments are saved as the second", "src/run/save.c",
     "(part->group == KM_FIRST_MOMENTS ? p->m : p->v)", "(part->group == KM_FIRST_MOMENTS ? p->m : p->m)", ["run/mpi_state@1"]),
    ("saving: the second moments are not loaded", "src/run/state.c",
     "group < KM_MIN(network->groups, (int)KM_GROUPS); group++) {", "group < KM_MIN(network->groups, (int)KM_GROUPS) - 1; group++) {",
     ["run/mpi_state@1"]),
    ("saving: one checkpoint fewer than checkpoint.keep stays", "src/run/checkpoint_files.c",
     "if (valid < keep) {", "if (valid + 1 < keep) {", ["run/test_run", "run/run_resume"]),
    ("saving: a renamed checkpoint is gone on from", "src/run/checkpoint_files.c",
     "step != file->step) {", "step < 0) {", ["run/test_run", "run/run_resume"]),
    ("saving: the log keeps no line of the checkpoint's own step", "src/run/metrics.c",
     "at <= (double)step ? LINE_KEPT", "at < (double)step ? LINE_KEPT", ["run/test_run", "run/run_resume"]),
    ("saving: what was written is not read back", "src/run/save_write.c",
     "return km_store_verify(path);", "return path != NULL ? KM_OK : KM_FAILED;", ["faults/run_readback"]),
    ("saving: files are renamed into place without fsync", "src/store/store.c",
     "KM_TRY(km_file_sync(store->fd, store->temporary));\n    off_t", "off_t", ["faults/run_order"]),
    ("saving: the folder is not synced after the rename", "src/store/store.c",
     "return km_file_sync_folder(store->path);", "return KM_OK;", ["faults/run_order"]),
    ("saving: the rank's own share of moments is read from the wrong place", "src/modelfile/network.c",
     "first - param->offset, count, t->out + (first - t->first));", "0 * param->offset, count, t->out + (first - t->first));",
     ["run/mpi_state@2"]),
    ("saving: files of a later version are read", "src/store/user_block.c",
     "if (version > KM_FORMAT_NEWEST) {", "if (version > 1000 * KM_FORMAT_NEWEST) {", ["store/test_damage"]),
    ("saving: a run that a later kmask has gone on with is gone on with from an older step", "src/run/checkpoint_files.c",
     "km_message_kind() == KM_ERROR_LATER) {", "km_message_kind() == KM_ERROR_KINDS) {", ["run/run_versions"]),
    # ---- Models as files ----
    ("import: gamma is taken for a bias", "src/model/naming.c",
     '{".gamma", ".weight"}, {".beta", ".bias"}', '{".gamma", ".bias"}, {".beta", ".weight"}', ["modelfile/run_import"]),
    ("import: a copy of tied weights that differs is taken", "src/modelfile/import.c",
     "    if (!same) {\n        return km_fail(KM_FAILED,\n                       \"%s: tensor %s differs", "    if (false) {\n        return km_fail(KM_FAILED,\n                       \"%s: tensor %s differs",
     ["modelfile/run_import"]),
    ("import: old names are known only in the embeddings", "src/model/naming.c",
     '(strstr(rest, "LayerNorm.") != NULL ||', '(strstr(rest, "embeddings.LayerNorm.") != NULL ||', ["modelfile/run_import"]),
    # ---- Tokenizers and corpora ----
    ("tokenizer: merges by the rank of the right neighbour", "src/tokenizer/bpe_merge.c",
     "best = ranks[i] < ranks[best] ? i : best;", "best = ranks[i] <= ranks[best] ? i : best;", ["tokenizer/test_bpe"]),
]


def sources():
    return [Path(p) for p in subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=SOURCE, check=True, capture_output=True,
                                            text=True).stdout.split("\n") if p and (SOURCE / p).is_file()]


def copy_tree():
    """The tree as it is, in WORK/source; files that are the same keep their times, so that nothing is compiled twice."""
    root, names = WORK / "source", set()
    for name in sources():
        old, new = SOURCE / name, root / name
        names.add(name)
        if not new.is_file() or new.read_bytes() != old.read_bytes():
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(old, new)
    for path in list(root.rglob("*")):
        if path.is_file() and path.relative_to(root) not in names:
            path.unlink()
    return root


def find_problem(change, root):
    """A sentence where the old text is not there exactly once, or a test is not there."""
    what, file, old, new, tests = change
    for test in tests:
        folder, _, name = test.partition("/")
        if not list((root / "tests" / folder).glob(f"{name.split('@')[0]}.*")):
            return f"there is no test {test}"
    path = root / file
    count = path.read_text().count(old) if path.is_file() else 0
    if count == 1:
        return None
    elsewhere = [str(p.relative_to(root)) for p in sorted((root / "src").rglob("*.[ch]")) if old in p.read_text()]
    if path.is_file() and count > 1:
        return f"{file} has the old text {count} times"
    there = f"; it is in {', '.join(elsewhere)}" if elsewhere else ""
    return f"the old text is no longer in {file}{there}" if path.is_file() else f"there is no {file}{there}"


def call(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


def targets_of(test, root):
    folder, _, name = test.partition("/")
    if folder == "fuzz":
        return [f"fuzz_{name}"]
    if name.startswith(("test_", "mpi_")):
        return [f"{folder}_{name.split('@')[0]}"]
    if folder == "faults":
        return ["kmask", "kmask_faults", "torn"]
    script = root / "tests" / folder / f"{name}.sh"
    return ["kmask"] + (["kmask_faults"] if script.is_file() and "KMASK_FAULT" in script.read_text() else [])


class Build:
    def __init__(self, root, limit):
        self.root, self.folder, self.limit = root, WORK / "release", limit
        generator = ["-G", "Ninja"] if shutil.which("ninja") and not (self.folder / "CMakeCache.txt").exists() else []
        made = call("cmake", "-S", str(root), "-B", str(self.folder), "-DCMAKE_BUILD_TYPE=Release", *generator)
        if made.returncode != 0:
            sys.exit(made.stdout)
        self.names = {test["name"] for test in self.list_tests(".")}

    def list_tests(self, pattern):
        """As ctest describes them; without a command where the program is not built yet."""
        listed = subprocess.run(["ctest", "--test-dir", str(self.folder), "--show-only=json-v1", "-R", pattern], check=True,
                                capture_output=True, text=True)
        return json.loads(listed.stdout)["tests"]

    def make(self, tests):
        targets = sorted({t for test in tests for t in targets_of(test, self.root)})
        return call("cmake", "--build", str(self.folder), "-j", str(os.cpu_count()), "--target", *targets)

    def passes(self, test):
        """Whether it passes within the limit, and after how many seconds it ended. ctest has no limit above a test's own."""
        described = self.list_tests(f"^{re.escape(test)}$")[0]
        properties = {p["name"]: p["value"] for p in described.get("properties", [])}
        environment = dict(os.environ, **dict(e.split("=", 1) for e in properties.get("ENVIRONMENT", [])))
        begin = time.monotonic()
        process = subprocess.Popen(described["command"], cwd=properties["WORKING_DIRECTORY"], env=environment, start_new_session=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            passed = process.wait(self.limit) == 0
        except subprocess.TimeoutExpired:
            passed = False
            for kind in (signal.SIGTERM, signal.SIGKILL):  # mpirun ends its ranks when it is asked to end
                os.killpg(process.pid, kind)
                time.sleep(1)
            process.wait()
        return passed, time.monotonic() - begin


def unchanged(build, changes):
    """Tests that pass within the limit on the unchanged source."""
    good = set()
    for test in sorted({t for c in changes for t in c[4]}):
        if test not in build.names:
            print(f"{test}: there is no such test", flush=True)
            continue
        made = build.make([test])
        if made.returncode != 0:
            sys.exit(made.stdout[-4000:])
        passed, seconds = build.passes(test)
        if passed:
            good.add(test)
        print(f"{test}: {'passes' if passed else 'FAILS'} in {seconds:.1f} s on the unchanged source", flush=True)
    return good


def try_change(build, change, good):
    """What noticed it; None: nothing."""
    what, file, old, new, tests = change
    path = build.root / file
    text = path.read_text()
    try:
        path.write_text(text.replace(old, new))
        usable = [t for t in tests if t in good]
        made = build.make(usable) if usable else None
        if made is not None and made.returncode != 0:
            error = re.search(r"error: .*", made.stdout)
            return f"DOES NOT COMPILE: {error.group(0) if error else made.stdout[-200:]}"
        for test in usable:
            passed, seconds = build.passes(test)
            if not passed:
                return f"{test} ({seconds:.0f} s)"
        return None
    finally:
        path.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=".")
    for name in ("--check", "--list", "--keep"):
        parser.add_argument(name, action="store_true")
    parser.add_argument("--limit", type=float, default=60)
    args = parser.parse_args()
    changes = [c for c in CHANGES if re.search(args.only, c[0]) or re.search(args.only, c[1])]
    if args.list:
        for what, file, old, new, tests in changes:
            print(f"{what} ({file})\n  - {old}\n  + {new}\n  {', '.join(tests)}")
        return 0
    stale = [(c, p) for c in changes for p in [find_problem(c, SOURCE)] if p]
    for change, problem in stale:
        print(f"STALE: {change[0]}: {problem}")
    if args.check:
        print(f"{len(changes) - len(stale)} changes can be made, {len(stale)} cannot")
        return 1 if stale else 0
    for name in ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"):
        os.environ[name] = "1"
    build = Build(copy_tree(), args.limit)
    changes = [c for c in changes if not find_problem(c, SOURCE)]
    good = unchanged(build, changes)
    missed = 0
    print("\n| change | file | noticed by |\n| --- | --- | --- |")
    for change in changes:
        by = try_change(build, change, good)
        missed += by is None or by.startswith("DOES")
        print(f"| {change[0]} | {change[1]} | {by or 'NO TEST'} |", flush=True)
    print(f"\n{len(changes)} changes, {missed} not noticed, {len(stale)} could not be made")
    if not args.keep:
        shutil.rmtree(WORK)
    return 1 if missed or stale else 0


if __name__ == "__main__":
    sys.exit(main())
