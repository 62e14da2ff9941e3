// The memory of a process: what it had at most, and a limit of its private part.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

export function hasPrlimit() {
  try {
    execFileSync('prlimit', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

// Why memory can be neither limited nor read here, or false.
export const noMemoryLimits = !(existsSync('/proc/self/status') && hasPrlimit()) && 'needs Linux and prlimit (util-linux)';

export function limitMemory(pid, bytes) {
  execFileSync('prlimit', ['--pid', String(pid), `--data=${bytes}`]);
}

export function peakBytes(pid) {
  const [, kib] = readFileSync(`/proc/${pid}/status`, 'utf8').match(/^VmHWM:\s+(\d+) kB/m);
  return Number(kib) * 1024;
}
