#include "bench/plot.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum {
    WIDTH = 1100,
    LEFT = 70,    /* numbers of the axis */
    RIGHT = 170,  /* names of the lines */
    HEAD = 34,    /* title */
    PANEL = 150,  /* of which */
    ABOVE = 24,   /* is the panel's title */
    FOOT = 40,    /* seconds */
    COLUMNS = 860 /* points of a line at most, about: two for each column of pixels */
};

static const char *const COLOURS[PLOT_SERIES_MAX] = {
    "#1f5fa8", "#c8571b", "#2c8a4b", "#8a3ca8", "#a8871f", "#3a9aa8", "#a83a5a", "#555555",
};

/* What a panel needs to place a value: its place on the page and the top of its axis. */
struct frame {
    double begin; /* seconds */
    double end;
    double top;  /* of the axis, in units */
    double unit; /* values are divided by it */
    double y;    /* of the panel's upper edge */
};

static double frame_x(const struct frame *frame, double seconds)
{
    double span = frame->end > frame->begin ? frame->end - frame->begin : 1;

    return LEFT + (seconds - frame->begin) / span * (WIDTH - LEFT - RIGHT);
}

static double frame_y(const struct frame *frame, double value)
{
    double part = value / frame->unit / frame->top;

    part = part < 0 ? 0 : part > 1 ? 1 : part;
    return frame->y + PANEL - part * (PANEL - ABOVE);
}

/* For axes of values, and for steps of time. */
static const double FINE[] = {1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10, 0};
static const double COARSE[] = {1, 2, 5, 10, 0};

/* The least of these, times a power of ten, that is not below. */
static double round_up(double value, const double *steps)
{
    double power = pow(10, floor(log10(value)));
    double last = 10;

    for (; *steps > 0; steps++) {
        last = *steps;
        if (value <= last * power * (1 + 1e-9))
            break;
    }
    return last * power;
}

static void print_escaped(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '<')
            fputs("&lt;", out);
        else if (*text == '&')
            fputs("&amp;", out);
        else if (*text == '>')
            fputs("&gt;", out);
        else
            fputc(*text, out);
    }
}

static void print_text(FILE *out, double x, double y, const char *anchor, const char *colour,
                       const char *text)
{
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"%s\">", x, y, anchor,
            colour);
    print_escaped(out, text);
    fputs("</text>\n", out);
}

static void print_rule(FILE *out, double x1, double y1, double x2, double y2, const char *style)
{
    fprintf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" %s/>\n", x1, y1, x2, y2,
            style);
}

static double panel_top(const struct plot *plot, const struct plot_panel *panel)
{
    double unit = panel->unit > 0 ? panel->unit : 1;
    double top = panel->limit;

    if (panel->top > 0)
        return round_up(panel->top / unit, FINE);
    for (int s = 0; s < PLOT_SERIES_MAX && panel->series[s].name != NULL; s++)
        for (int i = 0; i < plot->count; i++)
            if (isfinite(panel->series[s].values[i]) && panel->series[s].values[i] > top)
                top = panel->series[s].values[i];
    return top > 0 ? round_up(top / unit, FINE) : 1;
}

static void print_point(FILE *out, const struct frame *frame, double seconds, double value,
                        bool *drawing)
{
    fprintf(out, "%s%.1f,%.1f", *drawing ? " " : "<polyline points=\"", frame_x(frame, seconds),
            frame_y(frame, value));
    *drawing = true;
}

static void end_line(FILE *out, const char *colour, bool *drawing)
{
    if (*drawing)
        fprintf(out, "\" fill=\"none\" stroke=\"%s\" stroke-width=\"1.2\"/>\n", colour);
    *drawing = false;
}

/* Of more points than there are pixels, the least and the most of each group: peaks stay. */
static void print_series(FILE *out, const struct plot *plot, const struct frame *frame,
                         const double *values, const char *colour)
{
    int group = plot->count / COLUMNS + 1;
    bool drawing = false;

    for (int i = 0; i < plot->count; i += group) {
        int low = -1, high = -1;

        for (int k = i; k < i + group && k < plot->count; k++) {
            if (!isfinite(values[k]))
                continue;
            if (low < 0 || values[k] < values[low])
                low = k;
            if (high < 0 || values[k] > values[high])
                high = k;
        }
        if (low < 0) {
            end_line(out, colour, &drawing);
            continue;
        }
        print_point(out, frame, plot->seconds[low < high ? low : high],
                    values[low < high ? low : high], &drawing);
        if (low != high)
            print_point(out, frame, plot->seconds[low < high ? high : low],
                        values[low < high ? high : low], &drawing);
    }
    end_line(out, colour, &drawing);
}

static void print_axis(FILE *out, const struct frame *frame)
{
    char number[32];

    for (int i = 0; i <= 2; i++) {
        double y = frame_y(frame, frame->top * frame->unit * i / 2);

        snprintf(number, sizeof(number), "%g", frame->top * i / 2);
        print_rule(out, LEFT, y, WIDTH - RIGHT, y,
                   i == 0 ? "stroke=\"#999\"" : "stroke=\"#e4e4e4\"");
        print_text(out, LEFT - 6, y + 4, "end", "#555", number);
    }
}

static void print_panel(FILE *out, const struct plot *plot, const struct plot_panel *panel,
                        struct frame *frame)
{
    frame->unit = panel->unit > 0 ? panel->unit : 1;
    frame->top = panel_top(plot, panel);
    print_axis(out, frame);
    print_text(out, LEFT, frame->y + ABOVE - 6, "start", "#000", panel->title);
    for (int s = 0; s < PLOT_SERIES_MAX && panel->series[s].name != NULL; s++) {
        print_series(out, plot, frame, panel->series[s].values, COLOURS[s]);
        print_text(out, WIDTH - RIGHT + 8, frame->y + ABOVE + 10 + 15 * s, "start", COLOURS[s],
                   panel->series[s].name);
    }
    if (panel->limit > 0)
        print_rule(out, LEFT, frame_y(frame, panel->limit), WIDTH - RIGHT,
                   frame_y(frame, panel->limit), "stroke=\"#c00\" stroke-dasharray=\"6 4\"");
}

static void print_seconds(FILE *out, const struct frame *frame, double y)
{
    double span = frame->end > frame->begin ? frame->end - frame->begin : 1;
    double step = round_up(span / 10, COARSE);
    char number[32];

    for (int i = (int)ceil(frame->begin / step); i <= (int)floor(frame->end / step); i++) {
        double x = frame_x(frame, i * step);

        snprintf(number, sizeof(number), "%g", i * step);
        print_text(out, x, y + 16, "middle", "#555", number);
        print_rule(out, x, y, x, y + 4, "stroke=\"#999\"");
    }
    print_text(out, WIDTH - RIGHT + 8, y + 16, "start", "#555", "seconds");
}

void plot_print(const struct plot *plot, FILE *out)
{
    int height = HEAD + PANEL * plot->panel_count + FOOT;
    struct frame frame = {
        .begin = plot->count > 0 ? plot->seconds[0] : 0,
        .end = plot->count > 0 ? plot->seconds[plot->count - 1] : 0,
    };

    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
            WIDTH, height, WIDTH, height);
    fputs("<g font-size=\"15\">\n", out);
    print_text(out, LEFT, HEAD - 12, "start", "#000", plot->title);
    fputs("</g>\n", out);
    for (int i = 0; i < plot->panel_count; i++) {
        frame.y = HEAD + PANEL * i;
        print_panel(out, plot, &plot->panels[i], &frame);
    }
    print_seconds(out, &frame, HEAD + PANEL * plot->panel_count + 4);
    fputs("</svg>\n", out);
}

bool plot_save(const struct plot *plot, const char *path, struct error *error)
{
    FILE *out = fopen(path, "w");
    bool failed;

    if (out == NULL)
        return error_set(error, ERROR_SYSTEM, "cannot write %s: %s", path, strerror(errno));
    plot_print(plot, out);
    failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed)
        return error_set(error, ERROR_SYSTEM, "cannot write %s: %s", path, strerror(errno));
    return true;
}
