// When a server that died is started again. No `vscode` here.
//
//   const restarts = new Restarts(); restarts.died(now)   ->   true: start it again; false: it dies too often

const MOST = 4;
const WITHIN_MS = 3 * 60 * 1000;

export class Restarts {
  private deaths: number[] = [];

  /** Notes a death; whether to try again. */
  died(now: number): boolean {
    this.deaths = [...this.deaths.filter((at) => now - at < WITHIN_MS), now];
    return this.deaths.length <= MOST;
  }

  /** What is said when it was given up. */
  message(): string {
    return `The infill server stopped ${this.deaths.length} times within 3 minutes.`;
  }
}
