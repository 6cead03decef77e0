// Drawing only what can be seen.

import { useEffect, useLayoutEffect, useState } from "./vendor/htm-preact.js";

const SPARE = 4; // rows drawn above and below what is seen

/** Whether an element is on the screen, or near it. */
export function useOnScreen(reference) {
  const [seen, setSeen] = useState(true);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => setSeen(entries.at(-1).isIntersecting), {
      rootMargin: "200px",
    });
    observer.observe(reference.current);
    return () => observer.disconnect();
  }, []);
  return seen;
}

/**
 * Which of `count` rows of one height are to be drawn inside a scrolling element, and how high
 * what is left out above and below is. The height is what the style says in --row-height, in px.
 */
export function useWindow(reference, count, isOn) {
  const [place, setPlace] = useState({ first: 0, last: 30, height: 60 });
  useLayoutEffect(() => {
    if (!isOn) return undefined;
    const element = reference.current;
    const look = () => setPlace((was) => sameOr(was, placeOf(element)));
    const observer = new ResizeObserver(look);
    observer.observe(element);
    element.addEventListener("scroll", look, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", look);
    };
  }, [isOn]);
  if (!isOn) return { first: 0, last: count, above: 0, below: 0 };
  const last = Math.min(count, place.last);
  const first = Math.min(place.first, last);
  return { first, last, above: first * place.height, below: (count - last) * place.height };
}

function placeOf(element) {
  const height = Number.parseFloat(getComputedStyle(element).getPropertyValue("--row-height"));
  const first = Math.floor(element.scrollTop / height);
  const seen = Math.ceil(element.clientHeight / height);
  return { first: Math.max(0, first - SPARE), last: first + seen + SPARE, height };
}

function sameOr(was, now) {
  return was.first === now.first && was.last === now.last && was.height === now.height ? was : now;
}
