// Dragging a completion to another place with a mouse, a pen or a finger.

/** Let a handle drag the list item that it is in; onDrop(position of the completion that follows, or null). */
export function draggable(handle, onDrop) {
  handle.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    const item = handle.closest("li");
    const list = item.parentElement;
    const before = item.nextElementSibling;
    item.classList.add("dragged");

    // On the window, because an element that is moved in the document loses what it has captured.
    const move = (moved) => {
      const others = [...list.children].filter((each) => each !== item);
      const next = others.find((each) => {
        const box = each.getBoundingClientRect();
        return moved.clientY < box.top + box.height / 2;
      });
      if (item.nextElementSibling !== (next ?? null)) list.insertBefore(item, next ?? null);
    };
    const end = (ended) => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", end);
      window.removeEventListener("pointercancel", end);
      item.classList.remove("dragged");
      const next = item.nextElementSibling;
      if (ended.type === "pointercancel") list.insertBefore(item, before);
      else if (next !== before) onDrop(next ? Number(next.querySelector(".completion").dataset.position) : null);
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", end);
    window.addEventListener("pointercancel", end);
  });
}
