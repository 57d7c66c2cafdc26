// SPDX-License-Identifier: Apache-2.0
// Loudness of what passes, one number for every 20 ms: posted in groups of ten so that the page is seldom woken.
class Meter extends AudioWorkletProcessor {
  constructor() {
    super();
    this.window = Math.round(sampleRate / 50);
    this.sum = 0;
    this.count = 0;
    this.levels = [];
  }

  process(inputs) {
    // No channel at all means that nothing plays: silence, which must be counted like any other.
    const samples = inputs[0][0] ?? new Float32Array(128);
    for (const sample of samples) {
      this.sum += sample * sample;
      this.count += 1;
      if (this.count === this.window) {
        this.levels.push(Math.sqrt(this.sum / this.window) * 32768);
        this.sum = this.count = 0;
      }
    }
    if (this.levels.length >= 10) {
      this.port.postMessage(this.levels);
      this.levels = [];
    }
    return true;
  }
}

registerProcessor('meter', Meter);
