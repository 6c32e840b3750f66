// While `adbench report --watch` runs: loads the page again when a newer one is there, unless it is being read.
// A script beside the page says which is the newest: a page opened from disk may read no other kind of file.

const LOOK_SECONDS = 3;
const CALM_SECONDS = 30;

function startWatch() {
  const notice = byId("watch");
  if (!notice) return;
  let touched = -Infinity;
  for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "touchmove"]) {
    addEventListener(kind, (event) => { if (event.isTrusted) touched = performance.now(); }, { passive: true, capture: true });
  }
  const look = () => {
    const script = el("script", { src: `newest.js?${Date.now()}`, onload: () => script.remove(), onerror: stop });
    document.head.append(script);
  };
  const timer = setInterval(look, 1000 * LOOK_SECONDS);
  const stop = () => clearInterval(timer);
  window.adbenchNewest = (rendered) => {
    if (rendered === null) stop();
    else if (rendered !== notice.dataset.rendered) {
      if (performance.now() - touched > 1000 * CALM_SECONDS) location.reload();
      else notice.hidden = false;
    }
  };
  byId("reload").addEventListener("click", () => location.reload());
  look();
}

addEventListener("load", startWatch);  // by then page.js, which comes after this script, has run
