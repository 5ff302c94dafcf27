// The least that reading a dump, or events, can cost: recvmsg into one buffer,
// without looking at what is in it but for the end.
//
//   recv dump          dumps the tables local, main and default of IPv4, which
//                      every lookup consults, and prints the milliseconds
//   recv storm N       reads N datagrams of RTNLGRP_IPV4_ROUTE after "ready"
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char buffer[32768];

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static ssize_t receive(int fd)
{
	struct iovec v = { buffer, sizeof(buffer) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
	ssize_t n = recvmsg(fd, &m, 0);
	if (n < 0 && errno != ENOBUFS && errno != EINTR)
		fail("recvmsg");
	return n;
}

static void dump(int fd, int table)
{
	struct { struct nlmsghdr h; struct rtmsg r; } q = {
		.h = { sizeof(q), RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, 1, 0 },
		.r = { .rtm_family = AF_INET, .rtm_table = table },
	};
	int on = 1;
	setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	if (send(fd, &q, sizeof(q), 0) < 0)
		fail("send");
	for (;;) {
		ssize_t n = receive(fd);
		int type = ((struct nlmsghdr *)buffer)->nlmsg_type;
		if (n > 0 && (type == NLMSG_DONE || type == NLMSG_ERROR)) // there may be no such table
			break;
	}
}

static void storm(int fd, long count)
{
	int bytes = 64 << 20, group = RTNLGRP_IPV4_ROUTE;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)))
		fail("SO_RCVBUFFORCE");
	if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)))
		fail("NETLINK_ADD_MEMBERSHIP");
	printf("ready\n");
	fflush(stdout);
	receive(fd); // the first, before which it is stopped
	double start = now(), used = cpu();
	for (long i = 1; i < count; i++)
		receive(fd);
	printf("{\"time\": %.9f, \"cpu\": %.9f}\n", now() - start, cpu() - used);
}

int main(int argc, char **argv)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		fail("socket");
	struct sockaddr_nl a = { .nl_family = AF_NETLINK };
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)))
		fail("bind");
	if (argc == 2 && !strcmp(argv[1], "dump"))
	{
		double start = now();
		dump(fd, RT_TABLE_LOCAL);
		dump(fd, RT_TABLE_MAIN);
		dump(fd, RT_TABLE_DEFAULT);
		printf("{\"time\": %.6f}\n", 1e3 * (now() - start));
	}
	else if (argc == 3 && !strcmp(argv[1], "storm"))
		storm(fd, atol(argv[2]));
	else
		return 2;
	return 0;
}
