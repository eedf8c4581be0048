"use strict";
/* The figures of `kmask masks`: shares of tags among masked tokens as stacked bars, and how often a token is masked against the rank of
 * its frequency. Uses what page.html's own script has: COLORS, node, chartText, has, share, digits, dot. */
{
  const counted = JSON.parse(document.getElementById("masks-data").textContent);
  const lastPart = name => String(name).split("/").slice(-1)[0] || String(name);

  function card(title, note, wide) {
    const figure = node("div", { class: "figure" });
    $("masks").append(node("div", { class: "card chart" + (wide ? " wide" : "") },
      node("h2", {}, title, node("small", {}, note)), figure));
    return figure;
  }

  /* ---- Tags ---- */

  const interval = pair => Array.isArray(pair) && has(pair[0]) ? ` (${share(pair[0])} to ${share(pair[1])})` : "";

  /* The bar of the corpus, then one a policy. Tags stand in the order of their shares of the corpus. */
  function barsOf(corpus, policies) {
    const bar = (name, of, intervals) => ({ name, parts: [...Object.entries(of.tags), ["untagged", of.untagged]]
      .map(([tag, value]) => ({ tag, value, title: `${name}, ${tag}: ${share(value)}${interval((intervals || {})[tag])}` })) });
    return [bar("corpus", corpus), ...policies.map(p => bar(p.name, p, p.tag_intervals))];
  }

  function drawBars(into, bars, order) {
    const width = Math.max(260, into.clientWidth), row = 30, pad = { left: 150, right: 12, top: 6, bottom: 24 };
    const height = pad.top + pad.bottom + row * bars.length, sx = x => pad.left + x * (width - pad.left - pad.right);
    const colorOf = tag => COLORS[order.indexOf(tag) % COLORS.length];
    const shadeOf = tag => [1, 0.55, 0.3][Math.floor(order.indexOf(tag) / COLORS.length) % 3];
    const svg = [0, 0.25, 0.5, 0.75, 1].map(t => [
      node("path", { d: `M${sx(t)} ${pad.top}V${height - pad.bottom}`, stroke: "var(--grid)" }),
      chartText(sx(t), height - 6, t === 1 ? "end" : "middle", 100 * t + " %")]);
    bars.forEach((bar, i) => {
      let at = 0;
      svg.push(chartText(pad.left - 8, pad.top + row * (i + 0.5), "end", bar.name.length > 22 ? bar.name.slice(0, 21) + "…" : bar.name, { dy: ".35em" }));
      for (const tag of order) {
        const part = bar.parts.find(p => p.tag === tag);
        if (!part || !(part.value > 0)) continue;
        const x = sx(at), w = sx(at + part.value) - x;
        svg.push(node("rect", { x, y: pad.top + row * i + 3, width: w, height: row - 6, fill: colorOf(tag), opacity: shadeOf(tag),
          stroke: "var(--card)" }, node("title", {}, part.title)));
        if (w > 8 * tag.length) svg.push(chartText(x + w / 2, pad.top + row * (i + 0.5), "middle", tag, { dy: ".35em", class: shadeOf(tag) > 0.5 ? "on-color" : "" }));
        at += part.value;
      }
    });
    const legend = order.map(tag => node("span", { class: "group" }, dot({ color: colorOf(tag), dash: "" }), tag));
    into.replaceChildren(node("svg", { viewBox: `0 0 ${width} ${height}`, height }, svg), node("div", { class: "chips" }, legend));
  }

  function tags(corpus, policies) {
    const order = [...Object.entries(corpus.tags), ["untagged", corpus.untagged]].sort((a, b) => b[1] - a[1])
      .map(([tag]) => tag).filter(tag => tag !== "untagged" || corpus.untagged > 0);
    if (order.length < 2) return;
    drawBars(card("Tags among masked tokens", `${lastPart(corpus.path)}; a bar a policy, the corpus first`, true), barsOf(corpus, policies), order);
  }

  /* ---- Frequency ranks ---- */

  /* Ranks and shares on logarithmic axes. Tokens that are never masked stand at the bottom. The line is what random masks give. */
  function drawRanks(into, corpus, policy) {
    const width = Math.max(260, into.clientWidth), height = 300, pad = { left: 62, right: 14, top: 10, bottom: 38 };
    const ranks = policy.ranks, shares = ranks.flatMap(r => [r[1], r[2]]).filter(x => x > 0);
    const x1 = Math.log10(Math.max(ranks.length, 2)), y0 = Math.floor(Math.log10(shares.reduce((a, b) => Math.min(a, b), 1)));
    const y1 = Math.log10(shares.reduce((a, b) => Math.max(a, b), 0)) + 0.1;
    const sx = rank => pad.left + Math.log10(rank) / x1 * (width - pad.left - pad.right);
    const sy = y => y > 0 ? height - pad.bottom - (Math.max(Math.log10(y), y0) - y0 + 0.15) / (y1 - y0 + 0.15) * (height - pad.top - pad.bottom)
      : height - pad.bottom;
    const svg = [], seen = new Set();
    for (let p = y0; p <= y1; p++) {
      svg.push(node("path", { d: `M${pad.left} ${sy(10 ** p)}H${width - pad.right}`, stroke: "var(--grid)" }),
        chartText(pad.left - 8, sy(10 ** p), "end", "1e" + p, { dy: ".35em" }));
    }
    for (let p = 0; p <= x1; p++) svg.push(chartText(sx(10 ** p), height - pad.bottom + 16, "middle", String(10 ** p)));
    svg.push(chartText(width - pad.right, height - 4, "end", "frequency rank in the corpus"));
    let points = "";
    for (const [rank, , masked] of ranks) {
      const x = sx(rank).toFixed(0), y = sy(masked).toFixed(0);
      if (!seen.has(x + "," + y)) points += `M${x} ${y}h2v2h-2z`;
      seen.add(x + "," + y);
    }
    let line = "", last = -1;
    for (const [rank, tokens] of ranks) {
      const x = Math.round(sx(rank));
      if (x !== last) line += (line ? "L" : "M") + x + " " + sy(tokens).toFixed(1);
      last = x;
    }
    svg.push(node("path", { d: points, fill: COLORS[0], opacity: ".6" }), node("path", { d: line, fill: "none", stroke: COLORS[1], "stroke-width": 1.5 }));
    const most = [...ranks].sort((a, b) => b[2] - a[2]).slice(0, 5);
    for (const [rank, , masked] of most) {
      const piece = (corpus.pieces || [])[rank - 1];
      if (piece && masked > 0) svg.push(chartText(sx(rank) + 5, sy(masked), "start", piece, { dy: "-.2em" }));
    }
    const legend = [[COLORS[0], "share of masked tokens"], [COLORS[1], "share of the corpus: random masks' line"]]
      .map(([color, name]) => node("span", { class: "group" }, dot({ color, dash: "" }), name));
    into.replaceChildren(node("svg", { viewBox: `0 0 ${width} ${height}`, height }, svg), node("div", { class: "chips" }, legend));
  }

  for (const one of counted) {
    one.corpora.forEach((corpus, i) => {
      const policies = one.policies.filter(p => p.corpus === i);
      tags(corpus, policies);
      for (const policy of policies) {
        if (policy.ranks.length) drawRanks(card(`Masks by frequency: ${policy.name}`, `${digits(policy.rows, 6)} rows`, false), corpus, policy);
      }
    });
  }
}
