// A prompt as the conversation that it is.
import { code } from "./completion.js";
import { make } from "./dom.js";
import { block, inline } from "./text.js";

/** The messages of a prompt, in order. */
export function conversation(messages, hits) {
  return make("ol", { class: "conversation" }, messages.map((message) => turn(message, hits)));
}

function turn(message, hits) {
  const known = ["system", "user", "assistant", "tool"].includes(message.role);
  return make(
    "li",
    { class: `turn ${known ? message.role : "other"}` },
    make("p", { class: "role" }, inline(message.role), message.name ? [" · ", inline(message.name)] : null),
    message.reasoning_content
      ? make(
          "details",
          { class: "aside-text" },
          make("summary", {}, "Thought"),
          block(message.reasoning_content, { hits, label: "thought" }),
        )
      : null,
    message.content || !message.tool_calls ? block(message.content ?? "", { hits, label: "message" }) : null,
    message.tool_calls ? code(message.tool_calls) : null,
  );
}
