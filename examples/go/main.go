// A client of AlgoTrade in Go: logs in, makes a strategy from a template, trades it on paper over a replay, and follows
// the session, also across a cut.
//
//	go run . 127.0.0.1:8080
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"sync"
	"text/tabwriter"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "algotrade.example/client/gen/algotrade/v1"
)

// bearer puts the newest access token into the metadata of every call.
type bearer struct {
	mutex sync.RWMutex
	token string
}

func (b *bearer) set(token *pb.AccessToken) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.token = token.Token
}

func (b *bearer) with(ctx context.Context) context.Context {
	b.mutex.RLock()
	defer b.mutex.RUnlock()
	if b.token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+b.token)
}

func (b *bearer) unary(ctx context.Context, method string, request, reply any, connection *grpc.ClientConn,
	invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	return invoke(b.with(ctx), method, request, reply, connection, options...)
}

func (b *bearer) stream(ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn, method string,
	open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	return open(b.with(ctx), description, connection, method, options...)
}

func main() {
	address := "127.0.0.1:8080"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, address); err != nil {
		log.Fatal(explained(err))
	}
}

// explained writes an error with the reason and the fields that its details name.
func explained(err error) string {
	text := err.Error()
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			text += fmt.Sprintf(" [%s %v]", detail.Reason, detail.Metadata)
		case *errdetails.BadRequest:
			for _, field := range detail.FieldViolations {
				text += fmt.Sprintf("\n  %s: %s", field.Field, field.Description)
			}
		}
	}
	return text
}

func run(ctx context.Context, address string) error {
	auth := &bearer{}
	connection, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(auth.unary),
		grpc.WithStreamInterceptor(auth.stream))
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := enter(ctx, pb.NewIdentityServiceClient(connection), auth); err != nil {
		return err
	}
	if err := watchTicks(ctx, pb.NewMarketDataServiceClient(connection), "BTC-USD", 5); err != nil {
		return err
	}
	strategy, err := fromTemplate(ctx, pb.NewStrategyServiceClient(connection), "sma_cross")
	if err != nil {
		return err
	}
	return trade(ctx, pb.NewForwardTestServiceClient(connection), strategy)
}

// enter makes an account, which logs it in, and trades its refresh token for the next tokens, as one does before they
// expire.
func enter(ctx context.Context, identity pb.IdentityServiceClient, auth *bearer) error {
	registered, err := identity.Register(ctx, &pb.RegisterRequest{
		Email:    fmt.Sprintf("go-%s@example.com", rand.Text()),
		Password: rand.Text(),
	})
	if err != nil {
		return err
	}
	auth.set(registered.Token)
	refreshed, err := identity.RefreshToken(ctx, &pb.RefreshTokenRequest{RefreshToken: registered.RefreshToken.Token})
	if err != nil {
		return err
	}
	auth.set(refreshed.Token)
	fmt.Println("logged in as", registered.User.Email)
	return nil
}

// watchTicks prints ticks as they come. They travel in columns: prices are integers in units of 1e-8.
func watchTicks(ctx context.Context, market pb.MarketDataServiceClient, symbol string, count int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	stream, err := market.StreamTicks(ctx, &pb.StreamTicksRequest{Symbol: symbol, AfterSequence: proto.Int64(0)})
	if err != nil {
		return err
	}
	for seen := 0; seen < count; {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		for i, price := range message.GetTicks().GetPricesE8() {
			fmt.Printf("%s tick %d at %.2f\n", symbol, message.GetTicks().FirstSequence+int64(i), float64(price)/1e8)
			if seen++; seen == count {
				break
			}
		}
	}
	return nil
}

func fromTemplate(ctx context.Context, strategies pb.StrategyServiceClient, id string) (*pb.Strategy, error) {
	listed, err := strategies.ListTemplates(ctx, &pb.ListTemplatesRequest{})
	if err != nil {
		return nil, err
	}
	for _, template := range listed.Templates {
		if template.TemplateId == id {
			created, err := strategies.CreateStrategy(ctx, &pb.CreateStrategyRequest{Graph: template.Graph})
			return created.GetStrategy(), err
		}
	}
	return nil, fmt.Errorf("there is no template %s", id)
}

// trade runs a strategy over AAPL's daily bars, prints its fills, and ends it.
func trade(ctx context.Context, sessions pb.ForwardTestServiceClient, strategy *pb.Strategy) error {
	created, err := sessions.CreateSession(ctx, &pb.CreateSessionRequest{
		StrategyId: strategy.StrategyId,
		Symbol:     "AAPL",
		Settings:   &pb.RunSettings{FeeBps: "5"},
		Parameters: map[string]string{"fast": "10", "slow": "30"},
	})
	if err != nil {
		return err
	}
	id := created.Session.SessionId
	if _, err := sessions.StartSession(ctx, &pb.StartSessionRequest{SessionId: id}); err != nil {
		return err
	}
	before, err := follow(ctx, sessions, id, 0, 4)
	if err != nil {
		return err
	}
	// The stream was cut: the number of the last event that arrived is where the next one goes on.
	cursor := before[len(before)-1].Sequence
	after, err := follow(ctx, sessions, id, cursor, 4)
	if err != nil {
		return err
	}
	if after[0].Sequence != cursor+1 {
		return fmt.Errorf("event %d follows event %d", after[0].Sequence, cursor)
	}
	show(append(before, after...))
	_, err = sessions.StopSession(ctx, &pb.StopSessionRequest{SessionId: id, Mode: pb.StopMode_STOP_MODE_KEEP})
	return err
}

// follow returns so many events behind a cursor; leaving it cuts the stream.
func follow(ctx context.Context, sessions pb.ForwardTestServiceClient, id string, after int64, count int,
) ([]*pb.SessionEvent, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := sessions.StreamSession(ctx, &pb.StreamSessionRequest{SessionId: id, AfterSequence: &after})
	if err != nil {
		return nil, err
	}
	var events []*pb.SessionEvent
	for len(events) < count {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the session ended early")
		}
		if err != nil {
			return nil, err
		}
		if event := message.GetEvent(); event != nil { // else a snapshot, a mark or a heartbeat
			events = append(events, event)
		}
	}
	return events, nil
}

func show(events []*pb.SessionEvent) {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer table.Flush()
	fmt.Fprintln(table, "#\tdate\tevent\tquantity\tprice\tpnl\t")
	for _, event := range events {
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t\n", event.Sequence, event.EventTime.AsTime().Format(time.DateOnly),
			event.Kind.String()[len("SESSION_EVENT_KIND_"):], event.Quantity, event.Price, event.Pnl)
	}
}
