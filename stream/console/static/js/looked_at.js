// Work that is worth its price only where somebody looks at its place.

const STILL = 1000; // ms for which the page has to stand still

/**
 * Does something once, when a node was in view for a second without scrolling.
 * @param {Element} node
 * @param {() => void} action
 * @param {AbortSignal} signal ends the waiting
 */
export function onceLookedAt(node, action, signal) {
  const over = new AbortController();
  let timer = 0;
  let isSeen = false;
  const wait = () => {
    clearTimeout(timer);
    if (isSeen) timer = setTimeout(() => (document.hidden ? wait() : (end(), action())), STILL);
  };
  const observer = new IntersectionObserver((entries) => {
    isSeen = entries.at(-1).isIntersecting;
    wait();
  });
  const end = () => {
    clearTimeout(timer);
    observer.disconnect();
    over.abort();
  };
  observer.observe(node);
  addEventListener("scroll", wait, { passive: true, signal: over.signal });
  signal.addEventListener("abort", end);
}
