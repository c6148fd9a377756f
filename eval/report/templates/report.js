"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const articles = [...document.querySelectorAll("article[data-id]")];
  const filters = ["suite", "tag", "outcome", "search"].map((name) => byId(`filter-${name}`));

  function applyFilters() {
    const [suite, tag, outcome, search] = filters.map((field) => field.value);
    const wanted = search.trim().toLowerCase();
    let shown = 0;
    for (const article of articles) {
      const data = article.dataset;
      const fits =
        (!suite || data.suite === suite) &&
        (!tag || data.tags.split(" ").includes(tag)) &&
        (!outcome || (["red", "harm", "loop"].includes(outcome) ? data[outcome] === "yes" : data.outcome === outcome)) &&
        (!wanted || article.textContent.toLowerCase().includes(wanted));
      article.hidden = !fits;
      shown += fits ? 1 : 0;
    }
    byId("count").textContent = `${shown} of ${articles.length} shown`;
  }
  for (const field of filters) {
    for (const kind of ["input", "change"]) field.addEventListener(kind, applyFilters);
  }
  // Coming back to the page, the browser fills the fields in again without an event.
  addEventListener("pageshow", applyFilters);
  byId("differences").addEventListener("change", (event) =>
    document.body.classList.toggle("show-differences", event.target.checked));
  for (const link of document.querySelectorAll("a[data-suite]")) {
    link.addEventListener("click", () => {
      const values = [link.dataset.suite, "", link.dataset.outcome || "", ""];
      filters.forEach((field, index) => { field.value = values[index]; });
      applyFilters();
    });
  }
  applyFilters();

  // Blind rating: which model wrote what is not shown, and the sides are shuffled for every pair.
  const reportId = document.body.dataset.report;
  const storageKey = `eval-votes-${reportId}`;
  let votes = read();
  let queue = [];
  let now = null;

  function read() {
    try {
      return JSON.parse(localStorage.getItem(storageKey)) || {};
    } catch {
      return {};
    }
  }
  function keep() {
    try {
      localStorage.setItem(storageKey, JSON.stringify(votes));
    } catch {
      byId("blind-note").textContent = "This browser keeps nothing: export before you close the page.";
    }
  }
  const keyOf = (article) => `${article.dataset.suite}/${article.dataset.id}/${article.dataset.sample}`;

  function shuffle(list) {
    for (let i = list.length - 1; i > 0; i--) {
      const j = Math.floor(Math.random() * (i + 1));
      [list[i], list[j]] = [list[j], list[i]];
    }
    return list;
  }
  function startBlind() {
    queue = shuffle(articles.filter((a) => !a.hidden && a.dataset.same !== "yes" && !(keyOf(a) in votes)));
    document.body.classList.add("blind");
    next();
  }
  function stopBlind() {
    document.body.classList.remove("blind");
    showVoteCount();
    byId("start-blind").focus();
  }
  function next() {
    now = queue.length ? { article: queue.pop(), left: Math.random() < 0.5 ? "base" : "tuned" } : null;
    const done = Object.keys(votes).length;
    byId("blind-progress").max = Math.max(1, done + queue.length + (now ? 1 : 0));
    byId("blind-progress").value = done;
    byId("blind-count").textContent = `${done} rated, ${queue.length + (now ? 1 : 0)} to go`;
    byId("blind-pair").hidden = byId("blind-buttons").hidden = !now;
    if (!now) {
      byId("blind-note").textContent = "All pairs are rated. Export the votes to read them back in.";
      return;
    }
    for (const side of ["left", "right"]) {
      const arm = (side === "left") === (now.left === "base") ? "base" : "tuned";
      const box = byId(`blind-${side}`);
      box.replaceChildren();
      for (const turn of now.article.querySelectorAll(".turn")) {
        const user = document.createElement("div");
        user.className = "user";
        user.dir = "auto";
        user.textContent = turn.querySelector(".user").textContent;
        const answer = document.createElement("p");
        answer.dir = "auto";
        answer.textContent = turn.querySelector(`.answer.${arm} p`).textContent;
        box.append(user, answer);
      }
    }
    byId("blind-left-heading").focus();
  }
  function vote(choice) {
    if (!now) return;
    const other = now.left === "base" ? "tuned" : "base";
    const { suite, id, sample } = now.article.dataset;
    votes[keyOf(now.article)] = {
      suite, id, sample: Number(sample), left: now.left,
      winner: choice === "tie" ? "tie" : choice === "left" ? now.left : other,
    };
    keep();
    next();
  }
  function exportVotes() {
    const content = { report: reportId, run: document.body.dataset.run, votes: Object.values(votes) };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }));
    link.download = `votes-${reportId}.json`;
    link.click();
    URL.revokeObjectURL(link.href);
  }
  function showVoteCount() {
    const count = Object.keys(votes).length;
    byId("vote-count").textContent = count ? `${count} rated in this browser` : "";
    byId("export-outside").hidden = !count;
  }
  byId("start-blind").addEventListener("click", startBlind);
  byId("stop-blind").addEventListener("click", stopBlind);
  byId("vote-left").addEventListener("click", () => vote("left"));
  byId("vote-right").addEventListener("click", () => vote("right"));
  byId("vote-tie").addEventListener("click", () => vote("tie"));
  byId("vote-skip").addEventListener("click", next);
  byId("export").addEventListener("click", exportVotes);
  byId("export-outside").addEventListener("click", exportVotes);
  byId("forget").addEventListener("click", () => {
    if (!confirm("Forget every vote given in this browser for this report?")) return;
    votes = {};
    keep();
    startBlind();
  });
  document.addEventListener("keydown", (event) => {
    if (!document.body.classList.contains("blind") || event.ctrlKey || event.metaKey || event.altKey) return;
    const action = { 1: () => vote("left"), 2: () => vote("right"), 0: () => vote("tie"), s: next, Escape: stopBlind }[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  });
  showVoteCount();
})();
