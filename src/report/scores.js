"use strict";
/* The figures of `kmask finetune`: score against pre-training steps, score against K, and bars for a table of models and tasks.
 * Means over seeds; bands and error bars are one standard deviation. Uses what page.html's own script has: COLORS, $, node,
 * chartText, has, digits, ticks, dot, table, meanOf, deviationOf. */
{
  const results = JSON.parse(document.getElementById("score-data").textContent);

  /* A preset's name; of another task the name of its training file, or of the folder of a file that is just called train. */
  function taskOf(result) {
    const parts = String(result.task || result.name).replace(/\/+$/, "").split("/"), file = parts[parts.length - 1];
    return parts.length > 1 && /^(train|results)\b/.test(file) ? parts[parts.length - 2] : file;
  }

  /* The pre-training run that a snapshot or checkpoint is of; another file is an arm of its own. */
  function armOf(init) {
    const match = /^(.*?)\/?(snapshots|checkpoints)\/step-0*(\d+)\.h5$/.exec(init);
    return match ? { arm: match[1] || ".", step: Number(match[3]) } : { arm: init, step: 0 };
  }

  /* One entry for each result and init: the scores of the best learning rate and batch on dev. */
  function entriesOf(result) {
    const known = new Map((result.inits || []).map(i => [i.init, i]));
    return (result.chosen_by_init || []).filter(c => c.init).map(c => {
      const split = c.test && has((c.test[result.metric] || {}).mean) ? "test" : "dev";
      const runs = result.runs.filter(r => r.init === c.init && r.lr === c.lr && r.batch === c.batch && r[split] && has(r[split][result.metric]));
      const scores = runs.map(r => r[split][result.metric]), seeds = runs.map(r => r.seed);
      const from = armOf(c.init), more = known.get(c.init) || {};
      return { task: taskOf(result), metric: result.metric, split, scores, seeds, arm: from.arm,
        step: has(more.step) && more.step > 0 ? more.step : from.step, policy: more.policy, unit: more.unit, splits: more.splits };
    }).filter(e => e.scores.length);
  }

  const entries = results.flatMap(entriesOf);
  const tasks = [...new Set(entries.map(e => e.task))];
  const arms = [...new Set(entries.map(e => e.arm))];
  /* An arm goes by the end of its path that no other arm has. */
  function nameOf(arm) {
    const parts = arm.split("/");
    for (let n = 1; n < parts.length; n++) {
      const end = parts.slice(-n).join("/");
      if (arms.filter(a => a === end || a.endsWith("/" + end)).length === 1) return end;
    }
    return arm;
  }
  const style = list => name => {
    const i = list.indexOf(name);
    return { color: COLORS[i % COLORS.length], dash: ["", "6 3", "2 3"][Math.floor(i / COLORS.length) % 3] };
  };
  const ofArm = style(arms);
  const spread = scores => ({ y: meanOf(scores), low: meanOf(scores) - deviationOf(scores), high: meanOf(scores) + deviationOf(scores), n: scores.length });
  const words = (name, p) => `${name}: ${digits(p.y, 4)} ± ${digits(p.high - p.y, 2)}, ${p.n} seeds`;

  function card(title, note, wide) {
    const figure = node("div", { class: "figure" });
    $("scores").append(node("div", { class: "card chart" + (wide ? " wide" : "") }, node("h2", {}, title, node("small", {}, note)), figure));
    return figure;
  }

  const grid = (t, y, left, right) => [node("path", { d: `M${left} ${y}H${right}`, stroke: "var(--grid)" }),
    chartText(left - 8, y, "end", digits(t, 3), { dy: ".35em" })];

  /* Axes with room around the points; fixed: the values of x that are named. */
  function frame(into, series, xLabel, fixed) {
    const width = Math.max(260, into.clientWidth), height = 280, pad = { left: 62, right: 16, top: 10, bottom: 40 };
    const all = series.flatMap(s => s.points), ys = all.flatMap(p => [p.y, p.low, p.high]).filter(has), xs = all.map(p => p.x);
    let x0 = Math.min(...xs), x1 = Math.max(...xs), y0 = Math.min(...ys), y1 = Math.max(...ys);
    const roomX = (x1 - x0 || 1) * 0.04, roomY = (y1 - y0 || 0.01) * 0.08, base = height - pad.bottom;
    x0 -= roomX; x1 += roomX; y0 -= roomY; y1 += roomY;
    const sx = x => pad.left + (x - x0) / (x1 - x0) * (width - pad.left - pad.right);
    const sy = y => base - (y - y0) / (y1 - y0) * (base - pad.top);
    const svg = [ticks(y0, y1, 5).map(t => grid(t, sy(t), pad.left, width - pad.right)),
      (fixed || ticks(Math.max(x0, 0), x1, 6)).map(t => [node("path", { d: `M${sx(t)} ${base}v4`, stroke: "var(--axis)" }),
        chartText(sx(t), base + 17, "middle", digits(t, 6))]),
      chartText(width - pad.right, height - 6, "end", xLabel)];
    return { svg, sx, sy, width, height };
  }

  function place(into, svg, width, height, series) {
    into.replaceChildren(node("svg", { viewBox: `0 0 ${width} ${height}`, height }, svg),
      node("div", { class: "chips" }, series.map(s => node("span", { class: "group" }, dot(s), s.name))));
  }

  /* Lines with bands: [{name, color, dash, points: [{x, y, low, high, n}]}], points in ascending order of x. */
  function lines(into, series, xLabel, fixed) {
    const f = frame(into, series, xLabel, fixed);
    const path = (points, key) => points.map((p, i) => (i ? "L" : "M") + f.sx(p.x) + " " + f.sy(p[key])).join("");
    for (const s of series) {
      if (s.points.length > 1) {
        const back = [...s.points].reverse();
        f.svg.push(node("path", { d: `${path(s.points, "high")}L${path(back, "low").slice(1)}Z`, fill: s.color, opacity: ".13" }),
          node("path", { d: path(s.points, "y"), fill: "none", stroke: s.color, "stroke-width": 1.8, "stroke-dasharray": s.dash }));
      }
      for (const p of s.points) {
        f.svg.push(node("circle", { cx: f.sx(p.x), cy: f.sy(p.y), r: 3.4, fill: "var(--card)", stroke: s.color, "stroke-width": 1.6 },
          node("title", {}, words(`${s.name}, ${p.x}`, p))));
      }
    }
    place(into, f.svg, f.width, f.height, series);
  }

  /* Scores of the same arm and step from several results count together. */
  function pointsBy(list, key) {
    return [...new Set(list.map(key))].sort((a, b) => a - b).map(x => ({ x, ...spread(list.filter(e => key(e) === x).flatMap(e => e.scores)) }));
  }

  const splitOf = list => [...new Set(list.map(e => `${e.metric} of ${e.split}`))].join(", ");

  /* Score against pre-training steps, where an arm has several snapshots. */
  function curve(task) {
    const of = entries.filter(e => e.task === task);
    const series = arms.map(arm => ({ name: nameOf(arm), ...ofArm(arm), points: pointsBy(of.filter(e => e.arm === arm), e => e.step) }))
      .filter(s => s.points.length);
    if (!series.some(s => s.points.length > 1)) return;
    const into = card(`${task} against pre-training`, `${splitOf(of)}; mean over seeds, band: one standard deviation`, false);
    lines(into, series, "pre-training steps");
  }

  const last = of => of.filter(e => e.step === Math.max(...of.filter(o => o.arm === e.arm).map(o => o.step)));

  /* Score against K, where models that differ in K were pre-trained with one policy and unit. */
  function splits(task) {
    const of = last(entries.filter(e => e.task === task && has(e.splits)));
    const kinds = [...new Set(of.map(e => `${e.policy}, ${e.unit}`))], look = style(kinds);
    const series = kinds.map(kind => ({ name: kind, ...look(kind), points: pointsBy(of.filter(e => `${e.policy}, ${e.unit}` === kind), e => e.splits) }));
    if (!series.some(s => s.points.length > 1)) return;
    const ks = [...new Set(series.flatMap(s => s.points.map(p => p.x)))].sort((a, b) => a - b);
    const into = card(`${task} against K`, `${splitOf(of)}; last step of each run; band: one standard deviation`, false);
    lines(into, series, "K, masks of a row", ks);
  }

  /* Bars of all arms for each task, from the lowest error bar on. */
  function bars() {
    const groups = tasks.map(task => ({ task, bars: arms.map(arm => ({ arm, of: last(entries.filter(e => e.task === task && e.arm === arm)) }))
      .filter(b => b.of.length).map(b => ({ arm: b.arm, ...spread(b.of.flatMap(e => e.scores)) })) }));
    const into = card("Scores", "mean over seeds of the last snapshot of each run; error bars: one standard deviation", true);
    const width = Math.max(300, into.clientWidth), height = 300, pad = { left: 62, right: 12, top: 12, bottom: 34 };
    const all = groups.flatMap(g => g.bars), lowest = Math.min(...all.map(b => b.low)), highest = Math.max(...all.map(b => b.high));
    const room = 0.08 * (highest - lowest || 0.1), y0 = lowest - room, y1 = highest + room, base = height - pad.bottom;
    const sy = y => base - (y - y0) / (y1 - y0) * (base - pad.top);
    const step = (width - pad.left - pad.right) / (all.length + groups.length);
    const svg = [ticks(y0, y1, 5).map(t => grid(t, sy(t), pad.left, width - pad.right))];
    let x = pad.left + step / 2;
    for (const g of groups) {
      svg.push(chartText(x + g.bars.length * step / 2, base + 18, "middle", g.task));
      for (const b of g.bars) {
        const wide = step * 0.78, left = x + step * 0.11, at = left + wide / 2, cap = Math.min(5, wide / 3), look = ofArm(b.arm);
        svg.push(node("rect", { x: left, y: sy(b.y), width: wide, height: base - sy(b.y), fill: look.color, opacity: look.dash ? 0.45 : 0.8 },
          node("title", {}, words(`${nameOf(b.arm)}, ${g.task}`, b))),
          node("path", { d: `M${at} ${sy(b.low)}V${sy(b.high)}M${at - cap} ${sy(b.low)}h${2 * cap}M${at - cap} ${sy(b.high)}h${2 * cap}`,
            stroke: "var(--text)" }));
        x += step;
      }
      x += step;
    }
    place(into, svg, width, height, arms.filter(arm => all.some(b => b.arm === arm)).map(arm => ({ name: nameOf(arm), ...ofArm(arm) })));
  }

  /* Two-sided p of Student's t with n - 1 degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4); 1 where no score differs, NaN
   * with fewer than two seeds in common. */
  function pairedTest(a, b) {
    const xs = a.seeds.flatMap((seed, i) => b.seeds.includes(seed) ? [a.scores[i] - b.scores[b.seeds.indexOf(seed)]] : []);
    const df = xs.length - 1, sd = deviationOf(xs);
    if (df < 1) return NaN;
    if (xs.every(x => x === 0)) return 1;
    if (sd === 0) return 0;
    const t = Math.abs(meanOf(xs)) / (sd / Math.sqrt(xs.length)), angle = Math.atan(t / Math.sqrt(df)), square = Math.cos(angle) ** 2;
    const odd = df % 2 === 1;
    let term = odd ? Math.cos(angle) : 1, sum = odd && df === 1 ? 0 : term;
    for (let k = odd ? 2 : 1; k <= df - 3; k += 2) {
      term *= square * k / (k + 1);
      sum += term;
    }
    return 1 - (odd ? 2 / Math.PI * (angle + Math.sin(angle) * sum) : Math.sin(angle) * sum);
  }

  /* For each task: what the last snapshot of each arm has, and the best of them. */
  function cellsOf(task) {
    const cells = new Map(arms.map(arm => {
      const of = last(entries.filter(e => e.arm === arm)).filter(e => e.task === task);
      return [arm, { scores: of.flatMap(e => e.scores), seeds: of.flatMap(e => e.seeds) }];
    }).filter(([, cell]) => cell.scores.length));
    const best = [...cells.values()].sort((a, b) => meanOf(b.scores) - meanOf(a.scores))[0];
    return { cells, best };
  }

  /* As `kmask compare --table`: the best of a task is bold, and ~ marks what is not significantly worse. */
  function scoreTable() {
    const number = text => ({ text, cls: "number" });
    const heads = [{ text: "model", cls: "name" }, ...["steps", "K"].map(number), ...["policy", "unit"].map(text => ({ text })), ...tasks.map(t => number(t))];
    const columns = new Map(tasks.map(task => [task, cellsOf(task)]));
    const rows = arms.map(arm => {
      const of = last(entries.filter(e => e.arm === arm)), one = of[0];
      const cell = task => {
        const { cells, best } = columns.get(task), own = cells.get(arm);
        if (!own) return number("–");
        const score = `${meanOf(own.scores).toFixed(4)} ± ${deviationOf(own.scores).toFixed(4)}`, p = own === best ? NaN : pairedTest(own, best);
        return number([own === best ? node("b", {}, score) : score, p > 0.1 ? " ~ " : " ",
          node("small", {}, `n ${own.scores.length}${has(p) ? ", p " + digits(p, 2) : ""}`)]);
      };
      return [{ text: [dot(ofArm(arm)), " ", nameOf(arm)], cls: "name" }, number(has(one.step) ? String(one.step) : "–"),
        number(has(one.splits) ? String(one.splits) : "–"), { text: one.policy || "–" }, { text: one.unit || "–" }, ...tasks.map(cell)];
    });
    const notes = tasks.map(task => `${task}: ${splitOf(entries.filter(e => e.task === task))}`).join("; ");
    $("score-table").replaceChildren(table(heads, rows), node("p", { class: "none" },
      notes + "; bold: best of its column; ~: not significantly worse (paired t-test by seed, p > 0.1)"));
    $("score-card").hidden = false;
  }

  if (entries.length) {
    bars();
    tasks.forEach(curve);
    tasks.forEach(splits);
    scoreTable();
  }
}
