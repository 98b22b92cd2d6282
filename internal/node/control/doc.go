// Package control is the way from the commands of the weir binary to a running
// node: HTTP over a Unix socket in the node's data directory, which only the
// user of the node may open.
//
// The socket is data_dir/weir.sock. Where that path is longer than the platform
// allows for sockets, the socket lies in a private temporary directory and
// data_dir/weir.sock.path says where.
package control
