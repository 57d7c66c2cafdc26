#!/bin/sh
# [pure] An object of a pure or wrap module imports nothing but the allow-list, lk_* symbols and, for wrap modules,
# symbols of the libraries it names.   usage: pure.sh BUILD_DIR [LIBRARY.a ...]
set -u
cd "$(dirname "$0")/.."
build=$1; shift
allow='memcpy|memmove|memset|memcmp|memchr|strlen|strcmp|strncmp|strchr|abort|__stack_chk_fail|__mem(cpy|move|set)_chk|_GLOBAL_OFFSET_TABLE_|sqrtf?|expf?|exp2f?|logf?|log10f?|log2f?|powf?|fabsf?|floorf?|ceilf?|roundf?|lroundf?|lrintf?|sinf?|cosf?|fmodf?|__ubsan_.*|__asan_.*|__gcov_.*'
bad=0; seen=0
while read -r layer module kind libs; do
    case $layer in ''|\#*) continue ;; esac
    case $kind in pure|wrap) ;; *) continue ;; esac
    lib=$build/src/$module/liblk_$module.a
    [ $# -gt 0 ] && lib=$1
    [ -f "$lib" ] || continue
    seen=$((seen + 1))
    extra=$allow
    for l in $libs; do
        case $l in
        openssl) extra="$extra|(SSL|TLS|DTLS|DTLSv1|EVP|X509|BIO|ERR|RAND|HMAC|OPENSSL|CRYPTO|EC|ASN1|BN|OSSL|PEM|AES|MD5|SHA1|SHA256|i2d|d2i|SRTP)_[A-Za-z0-9_]*|HMAC" ;;
        wslay) extra="$extra|wslay_.*" ;;
        http-parser) extra="$extra|http_.*" ;;
        protobuf-c) extra="$extra|protobuf_c_.*|(livekit|named)__.*" ;;
        opus) extra="$extra|opus_.*" ;;
        soxr) extra="$extra|soxr_.*" ;;
        yuv) extra="$extra|[A-Z0-9]+(Alpha)?To[A-Z0-9]+|(Copy|Set|Scale)Plane|ARGBShuffle|ARGBExtractAlpha|I420(Scale|Rotate)" ;;
        zlib) extra="$extra|inflate.*" ;;
        jansson) extra="$extra|json_.*" ;;
        esac
    done
    found=$(nm -u "$lib" 2>/dev/null | awk '$1 == "U" {print $2}' | sort -u | grep -vE "^(lk_.*|$extra)\$")
    for symbol in $found; do
        echo "$module imports $symbol"; bad=1
    done
    [ $# -gt 0 ] && break
done < src/layers.txt
[ "$bad" = 0 ] && echo "$seen modules import only what they may"
exit $bad
