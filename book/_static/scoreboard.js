// The scoreboard's filter: by chapter, by verdict, by words. Without this script all claims are shown.
// scoreboard.html?verdict=unsettled&chapter=...&find=... opens with a choice made.
(function () {
  "use strict";

  function options(rows, key) {
    const found = [];
    rows.forEach((row) => { if (!found.includes(row.dataset[key])) found.push(row.dataset[key]); });
    return found;
  }

  function labelled(text, control) {
    const label = document.createElement("label");
    label.append(text, control);
    return label;
  }

  function choice(values, all) {
    const select = document.createElement("select");
    select.add(new Option(all, ""));
    values.forEach((value) => select.add(new Option(value, value)));
    return select;
  }

  function start() {
    const rows = Array.from(document.querySelectorAll("table.ctlib-scoreboard tbody tr"));
    const counts = document.querySelector("table.ctlib-counts");
    if (!rows.length || !counts) return;
    const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    const search = document.createElement("input");
    search.type = "search";
    search.placeholder = "words of a claim";
    const controls = {
      find: search,
      chapter: choice(options(rows, "chapter"), "all chapters"),
      verdict: choice(options(rows, "verdict"), "all verdicts"),
    };
    const told = document.createElement("output");
    const bar = document.createElement("form");
    bar.className = "ctlib-filter";
    bar.setAttribute("role", "search");
    bar.append(labelled("Search", controls.find), labelled("Chapter", controls.chapter), labelled("Verdict", controls.verdict), told);
    bar.addEventListener("submit", (event) => event.preventDefault());
    counts.closest(".ctlib-scroll").after(bar);

    function show() {
      const words = controls.find.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row) => {
        const fits = ["chapter", "verdict"].every((key) => !controls[key].value || row.dataset[key] === controls[key].value);
        row.hidden = !(fits && words.every((word) => texts.get(row).includes(word)));
        shown += row.hidden ? 0 : 1;
      });
      document.querySelectorAll("table.ctlib-scoreboard").forEach((table) => {
        const section = table.closest("section") || table;
        section.hidden = !table.querySelector("tbody tr:not([hidden])");
      });
      told.textContent = shown + " of " + rows.length + " claims";
    }

    const asked = new URLSearchParams(window.location.search);
    Object.keys(controls).forEach((key) => {
      if (asked.has(key)) controls[key].value = asked.get(key);
      controls[key].addEventListener("input", show);
    });
    show();
  }

  document.addEventListener("DOMContentLoaded", start);
})();
