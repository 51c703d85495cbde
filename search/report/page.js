// Tips for pointer and touch; whatever belongs to one trial lights up together.
(() => {
  const tip = document.getElementById("tip");
  let lit = null;
  const light = (trial) => {
    if (trial === lit) return;
    document.querySelectorAll(".lit").forEach((mark) => mark.classList.remove("lit"));
    if (trial !== null) document.querySelectorAll(`[data-trial="${trial}"]`).forEach((mark) => mark.classList.add("lit"));
    document.body.classList.toggle("lighting", trial !== null);
    lit = trial;
  };
  const show = (event) => {
    const mark = event.target.closest("[data-tip],[data-trial]");
    light(mark && mark.dataset.trial !== undefined ? mark.dataset.trial : null);
    if (!mark || !mark.dataset.tip) { tip.hidden = true; return; }
    tip.textContent = mark.dataset.tip;
    tip.hidden = false;
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = Math.max(8, Math.min(event.clientX + 14, room)) + "px";
    const below = event.clientY + 16;
    tip.style.top = (below + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 12 : below) + "px";
  };
  addEventListener("pointermove", show, { passive: true });
  addEventListener("pointerdown", show, { passive: true });
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
})();
