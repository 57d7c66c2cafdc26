//go:build peers

// Package peers names the programs the tests talk to, so that go.mod pins them.
package peers

import _ "github.com/livekit/livekit-server/cmd/server"
