// NVML with two devices: one that works, drawing 250 W, and one that fell off the bus. Signatures and codes as NVIDIA documents
// them (NVML API reference); the numbers are made up.
#include <stdint.h>
#include <time.h>

enum { OK = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, IS_LOST = 15 };
typedef uintptr_t device;
typedef struct { unsigned gpu, memory; } utilization;
typedef struct { unsigned pid; unsigned long long at; unsigned sm, memory, encoder, decoder; } sample;

int nvmlInit_v2(void) { return OK; }
int nvmlShutdown(void) { return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *out) { *out = index + 1; return OK; }

int nvmlDeviceGetTotalEnergyConsumption(device it, unsigned long long *mj) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *mj = 250 * (unsigned long long)(now.tv_sec * 1000 + now.tv_nsec / 1000000);
    return it == 1 ? OK : IS_LOST;
}
int nvmlDeviceGetPowerUsage(device it, unsigned *mw) { *mw = 250000; return it == 1 ? OK : IS_LOST; }
int nvmlDeviceGetTemperature(device it, int sensor, unsigned *celsius) { *celsius = 61; return it == 1 ? OK : IS_LOST; }
int nvmlDeviceGetClockInfo(device it, int clock, unsigned *mhz) { *mhz = 1410; return it == 1 ? OK : IS_LOST; }
int nvmlDeviceGetPcieThroughput(device it, int counter, unsigned *kb) { *kb = 3000 + counter; return it == 1 ? OK : IS_LOST; }
int nvmlDeviceGetUtilizationRates(device it, utilization *rates) {
    rates->gpu = 87;
    rates->memory = 40;
    return it == 1 ? OK : NOT_SUPPORTED;
}
int nvmlDeviceGetProcessUtilization(device it, sample *out, unsigned *count, unsigned long long since) {
    if (it != 1) return NOT_SUPPORTED;
    if (!out) { *count = 1; return INSUFFICIENT_SIZE; }
    *count = 1;
    *out = (sample){.pid = 4242, .at = since + 1, .sm = 80};
    return OK;
}
