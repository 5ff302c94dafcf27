package kube

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const protobuf = runtime.ContentTypeProtobuf

// API speaks to an API server, about the types of v1 that Connect was given.
type API struct {
	*rest.RESTClient
	Params runtime.ParameterCodec
	server string // URL
	origin string // where server and credentials come from
}

// Connect finds the API server and reads the credentials for it, and does not
// connect yet. It knows only the given types of v1: a scheme with all of
// Kubernetes' types would double the size of the program.
func Connect(cfg Config, types ...runtime.Object) (*API, error) {
	found, err := find(cfg)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, types...)
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		return nil, err
	}
	config := found.config
	config.APIPath = "/api"
	config.GroupVersion = &schema.GroupVersion{Version: "v1"}
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.ContentType = protobuf
	config.AcceptContentTypes = protobuf + "," + runtime.ContentTypeJSON
	config.UserAgent = cfg.UserAgent
	config.WarningHandler = rest.NoWarnings{}
	if cfg.dial != nil {
		config.Dial = cfg.dial
	}
	c, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", found.origin, err)
	}
	return &API{RESTClient: c, Params: runtime.NewParameterCodec(scheme), server: config.Host, origin: found.origin}, nil
}

// Server returns the URL of the API server.
func (a *API) Server() string { return a.server }

// Close closes the connections that are not in use.
func (a *API) Close() { utilnet.CloseIdleConnectionsFor(a.Client.Transport) }

const noCredentials = "no credentials"

// found is a way to an API server.
type found struct {
	config *rest.Config
	origin string
}

// find looks for the API server in the order that Config names.
func find(cfg Config) (found, error) {
	f, err := findCredentials(cfg)
	if err != nil || cfg.APIServer == "" {
		return f, err
	}
	u, err := url.Parse(cfg.APIServer)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" {
		return f, fmt.Errorf("the API server is %q: expected a URL, e.g. https://10.0.0.1:6443", cfg.APIServer)
	}
	f.config.Host = u.String()
	if u.Scheme == "http" && f.origin != noCredentials { // nobody's token goes over the network in the clear
		f.config = rest.AnonymousClientConfig(f.config)
		f.config.TLSClientConfig = rest.TLSClientConfig{}
		f.origin += ", without credentials since the URL has no https"
	}
	return f, nil
}

func findCredentials(cfg Config) (found, error) {
	switch origin := Origin(cfg.Kubeconfig); origin {
	case FromFlag:
		return fromKubeconfig(&clientcmd.ClientConfigLoadingRules{ExplicitPath: cfg.Kubeconfig}, "kubeconfig "+cfg.Kubeconfig)
	case FromVariable:
		paths := os.Getenv(clientcmd.RecommendedConfigPathEnvVar)
		return fromKubeconfig(&clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(paths)}, "$KUBECONFIG "+paths)
	case FromPod:
		config, err := rest.InClusterConfig()
		if err != nil {
			return found{}, fmt.Errorf("%s: %w: let the pod have one (automountServiceAccountToken), or give --kubeconfig", origin, err)
		}
		return found{config, origin}, nil
	case FromHome:
		path := clientcmd.RecommendedHomeFile
		return fromKubeconfig(&clientcmd.ClientConfigLoadingRules{ExplicitPath: path}, "kubeconfig "+path)
	}
	if cfg.APIServer != "" {
		return found{&rest.Config{}, noCredentials}, nil
	}
	return found{}, errors.New("no API server is known: give --kubeconfig FILE, or run in a pod with a service account")
}

func fromKubeconfig(rules *clientcmd.ClientConfigLoadingRules, origin string) (found, error) {
	loaded, err := rules.Load()
	if err != nil {
		return found{}, fmt.Errorf("%s: %w: expected a file that kubectl can use", origin, err)
	}
	config, err := clientcmd.NewDefaultClientConfig(*loaded, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return found{}, fmt.Errorf("%s: %w: try it with `kubectl get nodes`", origin, err)
	}
	return found{config, origin}, nil
}

// Where credentials can come from, the first that is there.
const (
	FromFlag     = "--kubeconfig"
	FromVariable = "$KUBECONFIG"
	FromPod      = "the pod's service account"
	FromHome     = "~/.kube/config"
)

// Origin says where New would take the credentials from; "" from nowhere.
func Origin(kubeconfig string) string {
	switch {
	case kubeconfig != "":
		return FromFlag
	case os.Getenv(clientcmd.RecommendedConfigPathEnvVar) != "":
		return FromVariable
	case os.Getenv("KUBERNETES_SERVICE_HOST") != "" && os.Getenv("KUBERNETES_SERVICE_PORT") != "":
		return FromPod
	}
	if _, err := os.Stat(clientcmd.RecommendedHomeFile); err == nil {
		return FromHome
	}
	return ""
}
