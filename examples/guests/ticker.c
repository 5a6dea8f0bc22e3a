/* Prints a numbered line every so often, so that there is something to follow.
 *
 * usage: ticker LINES MILLISECONDS */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv) {
    int lines = argc > 1 ? atoi(argv[1]) : 10;
    int pause = argc > 2 ? atoi(argv[2]) : 500;
    struct timespec wait = {pause / 1000, (pause % 1000) * 1000000L};
    for (int n = 1; n <= lines; n++) {
        printf("tick %d of %d\n", n, lines);
        fflush(stdout);
        if (n % 5 == 0) fprintf(stderr, "%d lines so far\n", n);
        nanosleep(&wait, NULL);
    }
    return 0;
}
