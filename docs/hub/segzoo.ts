// What huggingface.js takes of segzoo: a snippet, and an entry. README.md beside this says where.

import type { LibraryUiElement, ModelData } from "@huggingface/tasks";

// packages/tasks/src/model-libraries-snippets.ts
export const segzoo = (model: ModelData): string[] => [
	`# pip install the plugin that the model card names: it brings segzoo
import segzoo

model = segzoo.load("hf-hub:${model.id}")
prediction = model.predict("photo.jpg")
prediction.mask  # (H, W) uint8, at the picture's size`,
];

// packages/tasks/src/model-libraries.ts, in the order of the alphabet
export const entry = {
	segzoo: {
		prettyLabel: "segzoo",
		repoName: "segzoo",
		repoUrl: "https://github.com/OWNER/segzoo",
		snippets: segzoo,
		filter: false,
	},
} satisfies Record<string, LibraryUiElement>;
