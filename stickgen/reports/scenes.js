"use strict";

/* A list of scenes to choose from, above the player. */
chooser.shown = () => { at("scene").value = state.scene; };
chooser.step = (steps) => showScene(state.scene + steps);

data.scenes.forEach((each, index) => {
  at("scene").append(element("option", { value: index, textContent: `${index + 1}. ${each.caption}` }));
});
at("scene").addEventListener("change", (event) => showScene(Number(event.target.value)));
at("previous").addEventListener("click", () => chooser.step(-1));
at("next").addEventListener("click", () => chooser.step(1));
showScene(0);
play(state.playing);
