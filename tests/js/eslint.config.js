// Rules for the JavaScript that the pages load and for its tests. Run from the root of the repository.
import js from "@eslint/js";
import imports from "eslint-plugin-import-x";
import globals from "globals";

const PAGES = "gsd_core/dashboard/components/**/*.js";
const TESTS = "tests/js/*.js";

export default [
  js.configs.recommended,
  {
    files: [PAGES, TESTS],
    linterOptions: { reportUnusedDisableDirectives: "error" },
    plugins: { imports },
    rules: {
      eqeqeq: "error",
      "max-len": ["error", 120],
      "max-lines-per-function": ["error", 80],
      "max-params": ["error", 8],
      "no-implicit-globals": "error",
      "no-nested-ternary": "error",
      "no-shadow": "error",
      "no-var": "error",
      "prefer-const": "error",
      "imports/export": "error",
      "imports/extensions": ["error", "always", { ignorePackages: true }],
      "imports/first": "error",
      "imports/named": "error",
      "imports/no-cycle": "error",
      "imports/no-duplicates": "error",
      "imports/no-extraneous-dependencies": "error",
      "imports/no-mutable-exports": "error",
      "imports/no-unresolved": "error",
    },
  },
  // Nothing that pages load may read text as code: `unsafe-eval` stays forbidden.
  {
    files: [PAGES],
    languageOptions: { globals: globals.browser },
    rules: {
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-new-func": "error",
      "no-restricted-syntax": ["error", {
        selector: "TemplateElement[value.raw=/\\n *\\u002F\\u002F/]",
        message: "Lines that begin with // do not reach the page.",
      }],
      "no-restricted-properties": ["error", ...["innerHTML", "outerHTML", "insertAdjacentHTML"].map((property) =>
        ({ property, message: "Texts come from people's files: write them with textContent." }))],
    },
  },
  { files: [TESTS], languageOptions: { globals: globals.node } },
];
