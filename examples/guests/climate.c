/* Summarises daily weather by month. Runs as one partition of a job: it takes the years whose number modulo
 * BACALHAU_PARTITION_COUNT is BACALHAU_PARTITION_INDEX, prints a line per year, and writes monthly-<year>.csv
 * for each into the folder given as the second argument.
 *
 * usage: climate DATA.csv OUTPUT-FOLDER */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_YEAR 1900
#define YEARS 200

struct month {
    int days, rainy;
    double rain, low, high, mean;
};

static struct month months[YEARS][12];

static int env_number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
}

static void add(struct month *m, double rain, double high, double low) {
    if (m->days == 0 || low < m->low) m->low = low;
    if (m->days == 0 || high > m->high) m->high = high;
    m->days++;
    m->rainy += rain > 0;
    m->rain += rain;
    m->mean += (high + low) / 2;
}

static int write_year(const char *folder, int year, const struct month *of) {
    char path[256];
    snprintf(path, sizeof path, "%s/monthly-%d.csv", folder, year);
    FILE *out = fopen(path, "w");
    if (!out) {
        perror(path);
        return 1;
    }
    fprintf(out, "month,days,rainy_days,rain_mm,lowest_c,highest_c,mean_c\n");
    for (int m = 0; m < 12; m++)
        if (of[m].days)
            fprintf(out, "%d-%02d,%d,%d,%.1f,%.1f,%.1f,%.1f\n", year, m + 1, of[m].days, of[m].rainy, of[m].rain,
                    of[m].low, of[m].high, of[m].mean / of[m].days);
    return fclose(out) != 0;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: climate DATA.csv OUTPUT-FOLDER\n");
        return 2;
    }
    int index = env_number("BACALHAU_PARTITION_INDEX", 0), count = env_number("BACALHAU_PARTITION_COUNT", 1);
    FILE *in = fopen(argv[1], "r");
    if (!in) {
        perror(argv[1]);
        return 1;
    }
    char line[256];
    while (fgets(line, sizeof line, in)) {
        int year, month, day;
        double rain, high, low;
        if (sscanf(line, "%d/%d/%d,%lf,%lf,%lf", &year, &month, &day, &rain, &high, &low) != 6) continue;
        if (year < FIRST_YEAR || year >= FIRST_YEAR + YEARS || month < 1 || month > 12) continue;
        add(&months[year - FIRST_YEAR][month - 1], rain, high, low);
    }
    fclose(in);
    for (int y = 0; y < YEARS; y++) {
        struct month sum = {0};
        for (int m = 0; m < 12; m++) {
            sum.days += months[y][m].days;
            sum.rainy += months[y][m].rainy;
            sum.rain += months[y][m].rain;
            sum.mean += months[y][m].mean;
        }
        int year = FIRST_YEAR + y;
        if (!sum.days || year % (count > 0 ? count : 1) != index) continue;
        printf("%d: %d days, %d with rain, %.0f mm, mean %.1f C (partition %d of %d)\n", year, sum.days, sum.rainy,
               sum.rain, sum.mean / sum.days, index, count);
        if (write_year(argv[2], year, months[y])) return 1;
    }
    return 0;
}
