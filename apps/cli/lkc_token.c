/* SPDX-License-Identifier: Apache-2.0
 *
 * lkc_token.c - `lkc token`: makes, shows and checks access tokens.
 */
#include "lkc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char help[] =
    "usage: lkc token create --room ROOM --identity NAME [OPTIONS]   print a token\n"
    "       lkc token inspect TOKEN                                  print what is in a token; - reads it from stdin\n"
    "       lkc token verify TOKEN                                   check signature and times; exit status 1 if refused\n"
    "\n"
    "the key that signs, in this order:\n"
    "  --key KEY --secret SECRET       or LIVEKIT_API_KEY and LIVEKIT_API_SECRET of the environment\n"
    "  --dev                           the pair of `lkc serve --dev`\n"
    "\n"
    "what create puts into the token:\n"
    "  --room ROOM --identity NAME     may join this room under this identity (both needed unless --admin, --list or --create)\n"
    "  --name TEXT --metadata TEXT     display name, metadata\n"
    "  --attribute KEY=VALUE           may be repeated\n"
    "  --kind KIND                     standard (default), agent, ingress, egress, sip, connector, bridge\n"
    "  --url URL                       of a server: print a link to its page that joins with the token, in its place\n"
    "  --valid-for SECONDS|Nm|Nh|Nd    how long it is good for, from now (default 6h)\n"
    "  --no-publish --no-subscribe --no-data      take away what is given by default\n"
    "  --update-metadata               may change its own name, metadata and attributes\n"
    "  --source camera|microphone|screen_share|screen_share_audio   may publish this; may be repeated\n"
    "  --hidden --recorder             not shown to others; is told to others as recording\n"
    "  --admin --list --create         for the admin API: manage the room, list rooms, make and delete rooms\n";

static int complain(const char *what, const char *word) { return lkc_complain("token", what, word); }

/* "90", "30m", "6h", "7d"; 0: not one of these. */
static uint32_t seconds_of(const char *text)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10), unit = 1;
    if (end == text || errno || text[0] == '-')
        return 0;
    if (*end && !end[1])
        unit = *end == 's' ? 1 : *end == 'm' ? 60 : *end == 'h' ? 3600 : *end == 'd' ? 86400 : 0;
    else if (*end)
        return 0;
    return n && unit && n <= UINT32_MAX / unit ? (uint32_t)(n * unit) : 0;
}

static uint32_t source_of(const char *text)
{
    static const struct {
        const char *name;
        lk_track_source source;
    } rows[] = {{"camera", LK_TRACK_SOURCE_CAMERA}, {"microphone", LK_TRACK_SOURCE_MICROPHONE},
                {"screen_share", LK_TRACK_SOURCE_SCREEN_SHARE}, {"screen_share_audio", LK_TRACK_SOURCE_SCREEN_SHARE_AUDIO}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(rows[i].name, text))
            return 1u << rows[i].source;
    return 0;
}

typedef struct lkc_token_args {
    lk_access_key key;
    lk_access_token_options o;
    lk_attribute attributes[64];
    const char *token, *url;
} lkc_token_args;

static const char *text_option(const char *name, lkc_token_args *a, const char ***at)
{
    const struct {
        const char *name, **at;
    } rows[] = {{"--key", &a->key.key}, {"--secret", &a->key.secret}, {"--room", &a->o.room}, {"--identity", &a->o.identity},
                {"--name", &a->o.name}, {"--metadata", &a->o.metadata}, {"--kind", &a->o.kind}, {"--url", &a->url}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!strcmp(rows[i].name, name)) {
            *at = rows[i].at;
            return name;
        }
    }
    return NULL;
}

static bool switch_option(const char *name, lkc_token_args *a)
{
    const struct {
        const char *name;
        bool *at;
    } bools[] = {{"--hidden", &a->o.hidden}, {"--recorder", &a->o.recorder}, {"--admin", &a->o.room_admin},
                 {"--list", &a->o.room_list}, {"--create", &a->o.room_create}};
    const struct {
        const char *name;
        lk_grant *at, value;
    } grants[] = {{"--no-publish", &a->o.can_publish, LK_GRANT_DENY}, {"--no-subscribe", &a->o.can_subscribe, LK_GRANT_DENY},
                  {"--no-data", &a->o.can_publish_data, LK_GRANT_DENY}, {"--update-metadata", &a->o.can_update_metadata, LK_GRANT_ALLOW}};
    for (size_t i = 0; i < sizeof bools / sizeof *bools; i++) {
        if (!strcmp(bools[i].name, name)) {
            *bools[i].at = true;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof grants / sizeof *grants; i++) {
        if (!strcmp(grants[i].name, name)) {
            *grants[i].at = grants[i].value;
            return true;
        }
    }
    return false;
}

static int valued_option(const char *name, char *value, lkc_token_args *a)
{
    const char **at;
    if (text_option(name, a, &at)) {
        *at = value;
    } else if (!strcmp(name, "--valid-for")) {
        if (!(a->o.valid_sec = seconds_of(value)))
            return complain("not a length of time (90, 30m, 6h, 7d)", value);
    } else if (!strcmp(name, "--source")) {
        if (!source_of(value))
            return complain("not a source of tracks", value);
        a->o.publish_sources |= source_of(value);
    } else if (!strcmp(name, "--attribute")) {
        char *equals = strchr(value, '=');
        if (!equals || equals == value || a->o.attribute_count == 64)
            return complain(a->o.attribute_count == 64 ? "more than 64 attributes" : "not KEY=VALUE", value);
        *equals = 0;
        a->attributes[a->o.attribute_count++] = (lk_attribute){value, equals + 1};
    } else {
        return complain("unknown option (see lkc token --help)", name);
    }
    return LKC_OK;
}

static int parse(lkc_token_args *a, int argc, char **argv)
{
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "--dev")) {
            a->key = (lk_access_key){LKC_DEV_KEY, LKC_DEV_SECRET};
        } else if (strncmp(argv[i], "--", 2) != 0) {
            if (a->token)
                return complain("one token is enough", argv[i]);
            a->token = argv[i];
        } else if (!switch_option(argv[i], a)) {
            if (i + 1 == argc)
                return complain("unknown option, or its value is missing (see lkc token --help)", argv[i]);
            int status = valued_option(argv[i], argv[i + 1], a);
            if (status != LKC_OK)
                return status;
            i++;
        }
    }
    if (!a->key.key)
        a->key.key = getenv("LIVEKIT_API_KEY");
    if (!a->key.secret)
        a->key.secret = getenv("LIVEKIT_API_SECRET");
    return LKC_OK;
}

/* The token stands behind #, which browsers keep to themselves. */
static void print_link(const char *url, const char *token)
{
    bool ws = !strncmp(url, "ws://", 5) || !strncmp(url, "wss://", 6);
    size_t len = strlen(url);
    while (len && url[len - 1] == '/')
        len--;
    printf("%s%.*s/app#token=%s\n", ws ? "http" : "", (int)len - 2 * ws, url + 2 * ws, token);
}

static int create(lkc_token_args *a)
{
    static char out[LK_ACCESS_TOKEN_MAX + 1];
    bool admin = a->o.room_admin || a->o.room_list || a->o.room_create;
    if (a->token)
        return complain("create takes options only", a->token);
    if (!a->key.key || !a->key.secret)
        return complain("no key: give --key and --secret, or LIVEKIT_API_KEY and LIVEKIT_API_SECRET, or --dev", NULL);
    if (!admin && (!a->o.room || !a->o.identity))
        return complain(a->o.room ? "--identity is missing" : "--room is missing", NULL);
    a->o.room_join = a->o.room && a->o.identity;
    a->o.attributes = a->attributes;
    lk_err err = lk_access_token_create(out, sizeof out, &a->key, &a->o);
    if (err == LK_ERR_INVALID)
        return complain("an unknown --kind, or text that is not UTF-8", NULL);
    if (err != LK_OK) {
        fprintf(stderr, "lkc token: %s\n", err == LK_ERR_LIMIT ? "the token would be longer than 32 KiB" : lk_err_text(err));
        return LKC_FAILED;
    }
    if (a->url)
        print_link(a->url, out);
    else
        puts(out);
    return LKC_OK;
}

/* Indents JSON that is known to be well formed. */
static void print_json(const char *json)
{
    int depth = 0;
    bool quoted = false;
    for (const char *p = json; *p; p++) {
        if (quoted) {
            char one[2] = {*p, 0};
            if ((unsigned char)*p < 0x80)
                lkc_put_text(stdout, one, 0);
            else
                putchar(*p);
            if (*p == '\\' && p[1])
                putchar(*++p);
            else if (*p == '"')
                quoted = false;
        } else if (*p == '"') {
            quoted = true;
            putchar(*p);
        } else if (*p == '{' || *p == '[') {
            bool empty = p[1] == (*p == '{' ? '}' : ']');
            putchar(*p);
            if (empty)
                putchar(*++p);
            else
                printf("\n%*s", 2 * ++depth, "");
        } else if (*p == '}' || *p == ']') {
            printf("\n%*s%c", 2 * --depth, "", *p);
        } else if (*p == ',') {
            printf(",\n%*s", 2 * depth, "");
        } else if (*p == ':') {
            fputs(": ", stdout);
        } else if (!strchr(" \t\r\n", *p)) {
            putchar(*p);
        }
    }
    putchar('\n');
}

/* The times in words; the claims stand in a flat object, so the first of the name is the one. */
static void print_time(const char *json, const char *claim, const char *text)
{
    char date[40];
    const char *at = strstr(json, claim);
    if (!at)
        return;
    long long seconds = strtoll(at + strlen(claim), NULL, 10);
    time_t t = (time_t)seconds;
    struct tm tm;
    if (!gmtime_r(&t, &tm) || !strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S UTC", &tm))
        return;
    long long left = seconds - (long long)time(NULL);
    printf("%s %s (%lld s %s)\n", text, date, left < 0 ? -left : left, left < 0 ? "ago" : "from now");
}

static int inspect(const lkc_token_args *a)
{
    static char json[LK_ACCESS_TOKEN_MAX];
    lk_err err = lk_access_token_claims(json, sizeof json, a->token);
    if (err != LK_OK) {
        fprintf(stderr, "lkc token: not an access token\n");
        return LKC_FAILED;
    }
    print_json(json);
    print_time(json, "\"nbf\":", "valid from ");
    print_time(json, "\"exp\":", "valid until");
    fputs("not checked: see lkc token verify\n", stdout);
    return LKC_OK;
}

static int verify(const lkc_token_args *a)
{
    lk_error why;
    if (!a->key.key || !a->key.secret)
        return complain("no key: give --key and --secret, or LIVEKIT_API_KEY and LIVEKIT_API_SECRET, or --dev", NULL);
    if (lk_access_token_verify(a->token, &a->key, 1, &why) != LK_OK) {
        fprintf(stderr, "lkc token: %s\n", why.text);
        return LKC_FAILED;
    }
    puts("valid");
    return LKC_OK;
}

int lkc_token(int argc, char **argv)
{
    static lkc_token_args a;
    static char line[LK_ACCESS_TOKEN_MAX + 2];
    const char *what = argc > 1 ? argv[1] : "";
    if (argc < 2 || !strcmp(what, "--help") || (argc > 2 && !strcmp(argv[2], "--help"))) {
        fputs(help, argc < 2 ? stderr : stdout);
        return argc < 2 ? LKC_USAGE : LKC_OK;
    }
    lk_access_token_options_init(&a.o);
    int status = parse(&a, argc, argv);
    if (status != LKC_OK)
        return status;
    if (!strcmp(what, "create"))
        return create(&a);
    if (strcmp(what, "inspect") != 0 && strcmp(what, "verify") != 0)
        return complain("create, inspect or verify, not", what);
    if (!a.token)
        return complain("which token?", NULL);
    if (!strcmp(a.token, "-")) {
        if (!fgets(line, sizeof line, stdin))
            return complain("nothing on stdin", NULL);
        line[strcspn(line, "\r\n")] = 0;
        a.token = line;
    }
    return what[0] == 'i' ? inspect(&a) : verify(&a);
}
