const HANG_MS = 30_000;

// Fails instead of hanging.
export function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing for ${HANG_MS} ms: ${what}`)), HANG_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Events in order, to be awaited one by one.
export class Inbox {
  waiting = [];
  events = [];
  put = (event) => {
    const next = this.waiting.shift();
    next ? next(event) : this.events.push(event);
  };
  take(what) {
    if (this.events.length > 0) return Promise.resolve(this.events.shift());
    return within(new Promise((resolve) => this.waiting.push(resolve)), what);
  }
  async until(fits, what) {
    for (;;) {
      const event = await this.take(what);
      if (fits(event)) return event;
    }
  }
}
