
// A blind comparison: shows pair after pair, keeps the votes in this browser, saves them as a file.
const judge = document.querySelector("#judge");
if (judge) {
  const done = document.querySelector("#done");
  const stage = judge.querySelector(".stage");
  const pairs = [...document.querySelectorAll("#exhibits article")];
  const grounds = ["black", "white", "grey", "chequered"];
  const key = `bgexp-review-${judge.dataset.review}`;
  const longest = 3600;  // seconds: who looks longer has left

  const fresh = () => ({
    judge: Array.from(crypto.getRandomValues(new Uint8Array(8)), (b) => b.toString(16).padStart(2, "0")).join(""),
    at: 0,
    ground: 0,
    votes: {},
  });
  let state = fresh();
  try {
    state = { ...state, ...JSON.parse(localStorage.getItem(key) ?? "{}") };
    localStorage.setItem(key, JSON.stringify(state));
  } catch {
    document.querySelector("#forgetful").hidden = false;
  }
  const keep = () => {
    try { localStorage.setItem(key, JSON.stringify(state)); } catch { /* said above */ }
  };

  // Time away from the tab is no time of looking.
  let seconds = 0;
  let since = performance.now();
  const pause = () => {
    if (since !== null) seconds += (performance.now() - since) / 1000;
    since = null;
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) pause();
    else since = performance.now();
  });

  const press = (name, on) => judge.querySelector(`[data-do="${name}"]`).setAttribute("aria-pressed", String(on));
  const original = (on) => { stage.classList.toggle("original", on); press("original", on); };
  const zoom = (on) => { stage.classList.toggle("zoomed", on); press("zoom", on); };
  const ground = () => {
    stage.classList.remove(...grounds);
    stage.classList.add(grounds[state.ground % grounds.length]);
  };

  const show = () => {
    const judged = Object.keys(state.votes).length;
    judge.querySelector("progress").value = judged;
    judge.hidden = state.at >= pairs.length;
    done.hidden = !judge.hidden;
    original(false);
    zoom(false);
    ground();
    if (judge.hidden) {
      done.querySelector("[data-do=save]").focus();
      return;
    }
    const pair = pairs[state.at];
    const whole = pair.querySelector(".original");
    for (const side of ["left", "right"]) {
      const frame = stage.querySelector(`#${side}`);
      frame.style.setProperty("--mask", `url("${pair.querySelector(`.${side}`).src}")`);
      for (const picture of frame.querySelectorAll("img")) picture.src = whole.src;
    }
    stage.classList.toggle("wide", whole.getAttribute("width") - whole.getAttribute("height") > 0);
    judge.querySelector("#where").textContent = `${state.at + 1} of ${pairs.length}`;
    const before = state.votes[pair.dataset.pair]?.choice;
    for (const button of judge.querySelectorAll("[data-choice]")) {
      button.setAttribute("aria-pressed", String(button.dataset.choice === before));
    }
    judge.querySelector("[data-do=back]").disabled = state.at === 0;
    seconds = 0;
    since = document.hidden ? null : performance.now();
  };

  const choose = (choice) => {
    if (judge.hidden) return;
    pause();
    const pair = pairs[state.at].dataset.pair;
    state.votes[pair] = { choice, seconds: Math.min(longest, Math.round(10 * seconds) / 10) };
    state.at += 1;
    keep();
    show();
  };

  const save = () => {
    const votes = pairs
      .map((one) => one.dataset.pair)
      .filter((pair) => pair in state.votes)
      .map((pair) => ({ pair, ...state.votes[pair] }));
    const voteFile = { format: "bgexp-votes", version: 1, review: judge.dataset.review, judge: state.judge, votes };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${JSON.stringify(voteFile, null, 1)}\n`], { type: "application/json" }));
    link.download = `votes-${judge.dataset.review.slice(0, 8)}-${state.judge.slice(0, 8)}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    document.querySelector("#saved").textContent = `${votes.length} votes saved as ${link.download}, where this browser puts downloads.`;
  };

  const actions = {
    back: () => { state.at = Math.max(0, state.at - 1); keep(); show(); },
    zoom: () => zoom(!stage.classList.contains("zoomed")),
    original: () => original(!stage.classList.contains("original")),
    ground: () => { state.ground = (state.ground + 1) % grounds.length; keep(); ground(); },
    save,
  };
  const keys = {
    ArrowLeft: () => choose("left"),
    ArrowRight: () => choose("right"),
    ArrowDown: () => choose("tie"),
    ArrowUp: () => choose("both_bad"),
    Backspace: actions.back,
    z: actions.zoom,
    o: () => original(true),
    g: actions.ground,
  };
  document.addEventListener("keydown", (event) => {
    const act = keys[event.key] ?? keys[event.key.toLowerCase()];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (!event.repeat) act();  // a key held down is not a judgement of all that follows
  });
  document.addEventListener("keyup", (event) => {
    if (event.key.toLowerCase() === "o") original(false);
  });
  for (const button of document.querySelectorAll("[data-choice]")) {
    button.addEventListener("click", () => choose(button.dataset.choice));
  }
  for (const button of document.querySelectorAll("[data-do]")) {
    button.addEventListener("click", actions[button.dataset.do]);
  }

  // Both sides show the same place, so that a detail is compared with itself.
  const follow = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    stage.style.setProperty("--x", `${(100 * (event.clientX - box.left)) / box.width}%`);
    stage.style.setProperty("--y", `${(100 * (event.clientY - box.top)) / box.height}%`);
  };
  for (const frame of stage.querySelectorAll(".frame")) {
    frame.addEventListener("pointermove", follow);
    frame.addEventListener("click", (event) => { follow(event); actions.zoom(); });
  }
  show();
}
