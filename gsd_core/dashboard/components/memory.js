// What the script of a component keeps for each of its elements: Streamlit calls the script again with every rerun.
export class Memory {
  #states = new WeakMap();
  #create;

  // `create` makes the state of an element that is seen for the first time.
  constructor(create) {
    this.#create = create;
  }

  of(element) {
    if (!this.#states.has(element)) this.#states.set(element, this.#create(element));
    return this.#states.get(element);
  }

  // Whether there was a state to forget.
  forget(element) {
    return this.#states.delete(element);
  }
}

// Whether `value` differs from what `state` was given last, and keeps it.
export function isChanged(state, value) {
  const print = JSON.stringify(value);
  if (state.print === print) return false;
  state.print = print;
  return true;
}
