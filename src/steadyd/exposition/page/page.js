"use strict";
// Keeps a page as the daemon sees it: events bring the parts and rows that changed. Everything here
// was escaped by the daemon; without this file the page is a plain document that reloads itself.
(() => {
  const body = document.body;
  const byId = (id) => document.getElementById(id);
  let skew = Date.now() / 1000 - Number(body.dataset.at); // our clock against the daemon's

  const units = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  function span(seconds) {
    let whole = Math.max(0, Math.round(seconds));
    const parts = [];
    for (const [name, length] of units) {
      const count = Math.floor(whole / length);
      whole %= length;
      if (count || (name === "s" && !parts.length)) parts.push(count + name);
      else if (parts.length) break;
    }
    return parts.slice(0, 2).join(" ");
  }

  function ages(root) {
    const now = Date.now() / 1000 - skew;
    for (const time of root.querySelectorAll("time[data-at]")) {
      const text = span(now - Number(time.dataset.at));
      if (time.textContent !== text) time.textContent = text;
    }
  }

  const chapters = (node) => [...node.querySelectorAll("details[data-id]")];
  // a link, or the summary of a chapter
  const sameAs = (node) => node.getAttribute("href") || node.closest("details")?.dataset.id;

  // what had the focus keeps it: somebody may be going through the page by keyboard; what the
  // reader opened or closed stays so
  function keepingFocus(node, change) {
    const active = node.contains(document.activeElement) ? document.activeElement : null;
    const focus = active && sameAs(active);
    const open = new Map(chapters(node).map((each) => [each.dataset.id, each.open]));
    const made = change() || node;
    for (const each of chapters(made)) each.open = open.get(each.dataset.id) ?? each.open;
    if (focus) {
      const again = [...made.querySelectorAll("a, summary")].find((each) => sameAs(each) === focus);
      if (again) again.focus({ preventScroll: true });
    }
    ages(made);
  }

  function fill(id, html) {
    const node = byId(id);
    if (node) keepingFocus(node, () => { node.innerHTML = html; });
  }

  function replaceRow(name, html) {
    const row = [...document.querySelectorAll("tr[data-name]")].find((r) => r.dataset.name === name);
    if (!row) return;
    const template = document.createElement("template");
    template.innerHTML = html;
    const fresh = template.content.firstElementChild;
    keepingFocus(row, () => { row.replaceWith(fresh); return fresh; });
  }

  let asking = false;
  async function again() {
    if (asking) return;
    asking = true;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (answer.status === 404 && !byId("missing")) location.reload(); // no rule names it any more
      if (!answer.ok) return;
      if (byId("missing")) location.reload(); // now one does
      const there = new DOMParser().parseFromString(await answer.text(), "text/html");
      skew = Date.now() / 1000 - Number(there.body.dataset.at);
      document.title = there.title;
      for (const part of there.querySelectorAll("#main > div[id]")) {
        if (part.id !== "choose") fill(part.id, part.innerHTML);
      }
    } catch {
      // the events tell when the daemon is back
    } finally {
      asking = false;
    }
  }

  function take(event) {
    const news = JSON.parse(event.data);
    if (news.at) skew = Date.now() / 1000 - news.at;
    if (news.title) document.title = news.title;
    if (news.said) byId("said").textContent = news.said;
    if (news.stale) { again(); return; }
    for (const [id, html] of Object.entries(news.parts || {})) fill(id, html);
    for (const [name, html] of Object.entries(news.rows || {})) replaceRow(name, html);
  }

  let missing = 0;
  function connected(yes) {
    byId("live").hidden = !yes;
    if (yes) {
      clearTimeout(missing);
      missing = 0;
      byId("lost").hidden = true;
    } else if (!missing) { // a short absence is not worth a word
      missing = setTimeout(() => { byId("lost").hidden = false; }, 3000);
    }
  }

  function listen() {
    const source = new EventSource(body.dataset.feed);
    source.onopen = () => connected(true);
    source.onmessage = take;
    source.onerror = () => {
      connected(false);
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 5000);
    };
  }

  document.addEventListener("keydown", (event) => {
    const search = document.querySelector("input[type=search]");
    const typing = /^(input|select|textarea)$/i.test(document.activeElement?.tagName || "");
    if (event.key === "/" && search && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      search.focus();
    }
  });
  setInterval(() => { if (!document.hidden) ages(document); }, 1000);
  listen();
})();
