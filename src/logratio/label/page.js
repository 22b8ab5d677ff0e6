"use strict";
// Every text is set as text, never as markup. One question is under way at a time, so that a key pressed twice counts once.
(() => {
  const at = (id) => document.getElementById(id);
  const token = new URLSearchParams(location.search).get("token");
  const people = JSON.parse(document.body.dataset.people);
  const keys = { a: "a", ArrowLeft: "a", b: "b", ArrowRight: "b", t: "tie", n: "both_bad" };
  let annotator = null, task = null, busy = false;

  const problem = (text) => {
    at("problem").hidden = !text;
    at("problem").textContent = text || "";
  };

  const said = (turns, named) => turns.map((turn) => {
    const box = document.createElement("div"), text = document.createElement("div");
    box.className = "turn";
    text.className = "said";
    text.dir = "auto";
    if (turn.text) text.textContent = turn.text;
    else text.appendChild(document.createElement("em")).textContent = "empty";
    if (named) {
      const role = document.createElement("div");
      role.className = "role";
      role.textContent = turn.role;
      box.append(role);
    }
    box.append(text);
    return box;
  });

  const only = (id) => {
    for (const name of ["start", "work", "end"]) at(name).hidden = name !== id;
    for (const name of ["head", "keys"]) at(name).hidden = id === "start";
  };

  const ended = (state) => {
    const left = state.skipped;
    at("end-head").textContent = left ? "Nothing is left but what you skipped." : "All done. Thank you.";
    at("end-lead").textContent = left
      ? `${left} skipped. You may leave them, or take them up now.` : "This page may be closed. Of this file, so far:";
    at("figures").replaceChildren(...state.status.lines.map((line) => {
      const item = document.createElement("li");
      item.textContent = line;
      return item;
    }));
    at("people").hidden = !state.status.people.length;
    at("people").tBodies[0].replaceChildren(...state.status.people.map((person) => {
      const row = document.createElement("tr");
      for (const value of [person.name, person.a, person.b, person.tie, person.both_bad]) {
        row.insertCell().textContent = value;
      }
      return row;
    }));
    at("again").hidden = !left;
    only("end");
  };

  const show = (state) => {
    const fresh = state.task !== task;
    task = state.task;
    at("who").textContent = state.annotator;
    at("change").hidden = people.length === 1;
    at("count").textContent = `${state.judged} of ${state.total} judged` + (state.skipped ? `, ${state.skipped} skipped` : "");
    at("bar").style.width = `${(100 * state.judged) / state.total}%`;
    document.querySelectorAll('[data-action="undo"]').forEach((button) => { button.disabled = !state.undo; });
    if (task === null) return ended(state);
    const chat = state.prompt.length > 1 || state.prompt[0]?.role !== "prompt";
    at("prompt").replaceChildren(...said(state.prompt, chat));
    for (const side of ["a", "b"]) at(side).replaceChildren(...said(state[side], state[side].length > 1));
    only("work");
    if (fresh) {
      window.scrollTo(0, 0);
      for (const id of ["prompt", "a", "b"]) at(id).scrollTop = 0;
    }
  };

  const post = async (asked) => {
    const answer = await fetch(`/answer?token=${encodeURIComponent(token)}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Logratio-Token": token },
      body: JSON.stringify({ annotator, ...asked }),
    });
    return [answer.status, await answer.json()];
  };

  const ask = async (asked) => {
    if (busy) return;
    busy = true;
    document.body.setAttribute("aria-busy", "true");
    try {
      let [status, told] = await post(asked);
      if (status === 409) [status, told] = await post({ action: "show" });
      if (status === 200) {
        show(told);
        problem("");
        sessionStorage.setItem("annotator", annotator);
      } else {
        problem(told.error);
        if (task === null) begin();
      }
    } catch {
      problem("The server does not answer, and what you last chose does not count. Start `logratio label` again: what was judged is kept.");
    }
    busy = false;
    document.body.removeAttribute("aria-busy");
  };

  const begin = () => {
    only("start");
    at("free").hidden = people.length > 0;
    at("start").querySelector(".strong").hidden = people.length > 0;
    at("names").replaceChildren(...people.map((name, number) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "strong";
      button.textContent = name;
      button.addEventListener("click", () => enter(people[number]));
      return button;
    }));
    if (!people.length) at("name").focus();
  };

  const enter = (name) => {
    annotator = name;
    ask({ action: "show" });
  };

  const choose = (verdict) => ask({ action: "judge", task, verdict });
  const act = (action) => ask(action === "skip" ? { action, task } : { action });

  at("start").addEventListener("submit", (event) => {
    event.preventDefault();
    if (at("name").value.trim()) enter(at("name").value.trim());
  });
  at("change").addEventListener("click", () => { sessionStorage.removeItem("annotator"); task = null; begin(); });
  document.querySelectorAll("[data-verdict]").forEach((button) =>
    button.addEventListener("click", () => choose(button.dataset.verdict)));
  document.querySelectorAll("[data-action]").forEach((button) =>
    button.addEventListener("click", () => act(button.dataset.action)));
  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT") return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const working = !at("work").hidden, ending = !at("end").hidden;
    if (working && keys[key]) choose(keys[key]);
    else if (working && key === "s") act("skip");
    else if ((working || ending) && key === "u") act("undo");
    else return;
    event.preventDefault();
  });

  const known = people.length === 1 ? people[0] : sessionStorage.getItem("annotator");
  if (known && (!people.length || people.includes(known))) enter(known);
  else begin();
})();
